//! The non-linear equations of motion of an inverted pendulum on a cart.
//!
//! A uniform rod is hinged on a cart. A force pushes the cart along a rail without ends. The angle is 0 when the rod
//! stands upright, and it grows towards positive cart positions. This module uses no clock and no sockets;
//! [`rig`](super::rig) steps it in real time.

use serde::{Deserialize, Serialize};

/// Gravity, m/s².
const GRAVITY: f64 = 9.81;

/// The largest force of the motor in either direction, in newtons.
pub(crate) const FORCE_LIMIT_N: f64 = 25.0;

/// The positions and the velocities of cart and rod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) cart_m: f64,
    pub(crate) cart_mps: f64,
    pub(crate) angle_rad: f64,
    pub(crate) angle_radps: f64,
}

impl State {
    /// Returns the state as a vector, in the order of the fields.
    pub(crate) const fn vector(&self) -> [f64; 4] {
        [self.cart_m, self.cart_mps, self.angle_rad, self.angle_radps]
    }

    pub(crate) const fn from_vector([cart_m, cart_mps, angle_rad, angle_radps]: [f64; 4]) -> Self {
        Self { cart_m, cart_mps, angle_rad, angle_radps }
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.vector().iter().all(|value| value.is_finite())
    }

    /// Returns `self + factor * slope`.
    fn plus(&self, factor: f64, slope: &[f64; 4]) -> Self {
        let state = self.vector();
        Self::from_vector(std::array::from_fn(|i| state[i] + factor * slope[i]))
    }
}

/// The external inputs: the motor's force on the cart, and the wind's torque on the rod.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Input {
    pub(crate) force_n: f64,
    pub(crate) wind_nm: f64,
}

/// The constants of the mechanics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pendulum {
    pub(crate) cart_kg: f64,
    pub(crate) rod_kg: f64,
    /// The distance from the hinge to the rod's centre of mass.
    pub(crate) half_rod_m: f64,
    /// The viscous friction of the wheels, in N per m/s.
    pub(crate) cart_friction: f64,
    /// The viscous friction of the hinge, in N·m per rad/s.
    pub(crate) hinge_friction: f64,
}

/// A pendulum of desk size: a rod of 1 m on a cart of 1 kg.
pub(crate) const DESK: Pendulum =
    Pendulum { cart_kg: 1.0, rod_kg: 0.2, half_rod_m: 0.5, cart_friction: 0.1, hinge_friction: 0.002 };

impl Pendulum {
    /// Returns the rod's moment of inertia about the hinge. It is 4/3 m l² for a uniform rod.
    pub(crate) fn inertia(&self) -> f64 {
        4.0 / 3.0 * self.rod_kg * self.half_rod_m * self.half_rod_m
    }

    /// Returns mass times lever, in kg·m. It couples the accelerations of cart and rod.
    pub(crate) fn coupling(&self) -> f64 {
        self.rod_kg * self.half_rod_m
    }

    /// Returns the gravity torque of the horizontal rod, in N·m.
    pub(crate) fn gravity_torque(&self) -> f64 {
        self.coupling() * GRAVITY
    }

    /// Returns the rod's energy about the hinge, in joules. It is 0 when the rod stands still upright, and negative
    /// when it hangs still.
    pub(crate) fn rod_energy(&self, state: &State) -> f64 {
        let kinetic = 0.5 * self.inertia() * state.angle_radps * state.angle_radps;
        kinetic + self.gravity_torque() * (state.angle_rad.cos() - 1.0)
    }

    /// Returns the time derivative of the state.
    ///
    /// With the accelerations a of the cart and α of the rod, Lagrange's method gives two linear equations:
    ///
    /// ```text
    /// (M+m) a + m l cosθ α = F − b ẋ + m l θ̇² sinθ
    /// m l cosθ a + J α     = m g l sinθ − c θ̇ + wind
    /// ```
    ///
    /// Cramer's rule solves them. The determinant is positive for every angle.
    pub(crate) fn derivative(&self, state: &State, input: Input) -> [f64; 4] {
        let (sin, cos) = state.angle_rad.sin_cos();
        let mass = self.cart_kg + self.rod_kg;
        let lever = self.coupling() * cos;
        let push = input.force_n - self.cart_friction * state.cart_mps
            + self.coupling() * state.angle_radps * state.angle_radps * sin;
        let torque = self.gravity_torque() * sin - self.hinge_friction * state.angle_radps + input.wind_nm;
        let determinant = mass * self.inertia() - lever * lever;
        let cart_acceleration = (self.inertia() * push - lever * torque) / determinant;
        let rod_acceleration = (mass * torque - lever * push) / determinant;
        [state.cart_mps, cart_acceleration, state.angle_radps, rod_acceleration]
    }

    /// Returns the state `seconds` later under a constant input, by one classical Runge-Kutta step.
    pub(crate) fn step(&self, state: &State, input: Input, seconds: f64) -> State {
        let k1 = self.derivative(state, input);
        let k2 = self.derivative(&state.plus(seconds / 2.0, &k1), input);
        let k3 = self.derivative(&state.plus(seconds / 2.0, &k2), input);
        let k4 = self.derivative(&state.plus(seconds, &k3), input);
        let slope = std::array::from_fn(|i| (k1[i] + 2.0 * k2[i] + 2.0 * k3[i] + k4[i]) / 6.0);
        state.plus(seconds, &slope)
    }
}

/// A light wind with gusts on the rod, so that the controller always has disturbances to correct.
///
/// It is an Ornstein-Uhlenbeck process from a fixed seed, so every demo has the same wind.
#[derive(Debug)]
pub(crate) struct Wind {
    torque_nm: f64,
    random: u64,
}

/// The standard deviation of the wind's torque, in N·m. It tilts the rod's equilibrium by about 0.7 degrees.
const WIND_NM: f64 = 0.012;
/// The correlation time of the wind.
const GUST_SECONDS: f64 = 0.4;

impl Wind {
    pub(crate) const fn new() -> Self {
        Self { torque_nm: 0.0, random: 0x9E37_79B9_7F4A_7C15 }
    }

    /// Returns the torque for the next `seconds`.
    pub(crate) fn blow(&mut self, seconds: f64) -> f64 {
        let share = seconds / GUST_SECONDS;
        self.torque_nm += -share * self.torque_nm + WIND_NM * (2.0 * share).sqrt() * self.noise();
        self.torque_nm
    }

    /// Returns uniform noise with variance 1, from xorshift64.
    fn noise(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let unit = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        (2.0 * unit - 1.0) * 3.0_f64.sqrt()
    }
}

/// The angle brought into -π..=π, 0 being upright.
pub(crate) fn wrapped(angle_rad: f64) -> f64 {
    use std::f64::consts::{PI, TAU};
    (angle_rad + PI).rem_euclid(TAU) - PI
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: f64 = 0.001;

    fn frictionless() -> Pendulum {
        Pendulum { cart_friction: 0.0, hinge_friction: 0.0, ..DESK }
    }

    /// Returns the energy of cart and rod together.
    fn total_energy(pendulum: &Pendulum, state: &State) -> f64 {
        let mass = pendulum.cart_kg + pendulum.rod_kg;
        pendulum.rod_energy(state)
            + 0.5 * mass * state.cart_mps * state.cart_mps
            + pendulum.coupling() * state.cart_mps * state.angle_radps * state.angle_rad.cos()
    }

    #[test]
    fn without_friction_the_energy_of_a_falling_rod_is_constant() {
        let pendulum = frictionless();
        let mut state = State { angle_rad: 0.5, ..State::default() };
        let before = total_energy(&pendulum, &state);
        for _ in 0..5000 {
            state = pendulum.step(&state, Input::default(), MS);
        }
        assert!((total_energy(&pendulum, &state) - before).abs() < 1e-9, "RK4 at 1 kHz drifts less");
    }

    #[test]
    fn upright_is_an_unstable_equilibrium() {
        let still = DESK.step(&State::default(), Input::default(), MS);
        assert_eq!(still, State::default());
        let mut state = State { angle_rad: 0.001, ..State::default() };
        for _ in 0..2000 {
            state = DESK.step(&state, Input::default(), MS);
        }
        assert!(state.angle_rad.abs() > 0.5, "it fell: {state:?}");
    }

    #[test]
    fn small_swings_about_hanging_have_the_textbook_period() {
        // With a very heavy cart, the rod is a physical pendulum with the period T = 2π sqrt(J / mgl).
        let pendulum = Pendulum { cart_kg: 1e9, ..frictionless() };
        let textbook = std::f64::consts::TAU * (pendulum.inertia() / pendulum.gravity_torque()).sqrt();
        let mut state = State { angle_rad: std::f64::consts::PI + 0.01, ..State::default() };
        let mut steps = 0;
        while !(state.angle_radps > 0.0 && steps > 10) {
            state = pendulum.step(&state, Input::default(), MS);
            steps += 1;
        }
        let half_period = f64::from(steps) * MS;
        assert!((half_period - textbook / 2.0).abs() < 0.002, "{half_period} against {}", textbook / 2.0);
    }

    #[test]
    fn the_wind_is_reproducible_and_bounded() {
        let gusts = |mut wind: Wind| -> Vec<f64> { (0..10_000).map(|_| wind.blow(MS)).collect() };
        let first = gusts(Wind::new());
        assert_eq!(first, gusts(Wind::new()));
        assert!(first.iter().all(|torque| torque.abs() < 6.0 * WIND_NM));
        assert!(first.iter().any(|torque| torque.abs() > WIND_NM));
    }

    #[test]
    fn a_whole_turn_is_upright_again() {
        assert!(wrapped(std::f64::consts::TAU).abs() < 1e-12);
        assert!((wrapped(3.5) - (3.5 - std::f64::consts::TAU)).abs() < 1e-12);
    }
}
