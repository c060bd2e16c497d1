//! The mathematics of the controller: state feedback near upright, and a swing-up elsewhere.
//!
//! The gains are computed at the start. The plant's equations are linearised about upright and discretised for the
//! sample rate. The discrete Riccati equation then gives the gains that minimise a quadratic cost (linear-quadratic
//! regulator).
//!
//! A linear law does not work far from upright. There the controller increases the rod's energy to that of standing
//! upright (Åström and Furuta, "Swinging up a pendulum by energy control", Automatica 36, 2000). When the rod passes
//! upright slowly, the linear law takes over.
//!
//! [`controller`](super::controller) calls this module, which does not know about messages.

use super::matrix::Matrix;
use super::pendulum::{DESK, FORCE_LIMIT_N, Input, Pendulum, State, wrapped};

/// The deviations of the state that cost the same (Bryson's rule), in m, m/s, rad and rad/s; below, of the force in N.
const ACCEPTABLE_STATE: [f64; 4] = [0.5, 1.0, 0.15, 1.0];
const ACCEPTABLE_FORCE_N: f64 = 10.0;

/// The largest number of steps of the Riccati recursion. At 1 kHz it needs about 20,000.
const RICCATI_STEPS: usize = 1_000_000;
/// The relative change below which the recursion has converged.
const RICCATI_SETTLED: f64 = 1e-12;

/// The step size of the numerical differentiation.
const NUDGE: f64 = 1e-6;

/// The linear law takes over when the rod's angle and its predicted angle are both below this.
const CATCH_RAD: f64 = 0.6;
/// The linear law ends when one of them is above this.
const LET_GO_RAD: f64 = 0.9;

/// The swing-up: cart acceleration per joule of missing energy and per rad/s.
const SWING_GAIN: f64 = 12.0;
/// The limit of that acceleration.
const SWING_MPS2: f64 = 9.0;
/// The acceleration towards the centre per metre of distance.
const CENTRE_GAIN: f64 = 1.5;
/// The deceleration per m/s of cart velocity.
const BRAKE_GAIN: f64 = 1.5;
/// The acceleration that moves a rod out of its rest position at the bottom.
const KICK_MPS2: f64 = 2.0;

/// State feedback: the force is minus the gains times the state.
#[derive(Debug)]
pub(super) struct Controller {
    pendulum: Pendulum,
    gains: [f64; 4],
    balancing: bool,
}

impl Controller {
    /// Designs the controller for samples every `period_s` seconds.
    pub(super) fn design(period_s: f64) -> Self {
        Self { pendulum: DESK, gains: regulator_gains(&DESK, period_s), balancing: false }
    }

    /// Returns the force for this state in newtons, within the motor's limit.
    pub(super) fn force_n(&mut self, state: &State) -> f64 {
        let near = State { angle_rad: wrapped(state.angle_rad), ..*state };
        self.balancing = self.can_balance(&near);
        let force = if self.balancing { self.feedback(&near) } else { self.swing_up(&near) };
        force.clamp(-FORCE_LIMIT_N, FORCE_LIMIT_N)
    }

    fn can_balance(&self, state: &State) -> bool {
        let limit = if self.balancing { LET_GO_RAD } else { CATCH_RAD };
        // The unstable mode θ + θ̇/λ predicts where the rod's momentum takes it. A rod that passes upright fast cannot
        // be caught.
        let fall_rate = (self.pendulum.gravity_torque() / self.pendulum.inertia()).sqrt();
        let heading = state.angle_rad + state.angle_radps / fall_rate;
        state.angle_rad.abs() < limit && heading.abs() < limit
    }

    fn feedback(&self, state: &State) -> f64 {
        -self.gains.iter().zip(state.vector()).map(|(gain, value)| gain * value).sum::<f64>()
    }

    /// Returns the force that moves the rod's energy towards that of standing upright.
    fn swing_up(&self, state: &State) -> f64 {
        let energy = self.pendulum.rod_energy(state);
        let (sin, cos) = state.angle_rad.sin_cos();
        // dE/dt = -m l ẍ θ̇ cosθ, so this sign always moves E towards 0.
        let pump = (SWING_GAIN * energy * state.angle_radps * cos).clamp(-SWING_MPS2, SWING_MPS2);
        let hangs_still = cos < -0.99 && state.angle_radps.abs() < 0.1;
        let kick = if hangs_still { KICK_MPS2 } else { 0.0 };
        let acceleration = pump + kick - CENTRE_GAIN * state.cart_m - BRAKE_GAIN * state.cart_mps;
        self.force_for(acceleration, state, sin, cos)
    }

    /// Returns the force that gives the cart this acceleration. It compensates the motion of the rod.
    fn force_for(&self, acceleration: f64, state: &State, sin: f64, cos: f64) -> f64 {
        let plant = &self.pendulum;
        let lever = plant.coupling();
        let rod_acceleration = (plant.gravity_torque() * sin - lever * cos * acceleration) / plant.inertia();
        (plant.cart_kg + plant.rod_kg) * acceleration
            + plant.cart_friction * state.cart_mps
            + lever * (rod_acceleration * cos - state.angle_radps * state.angle_radps * sin)
    }
}

/// Computes the gains of the discrete linear-quadratic regulator.
fn regulator_gains(pendulum: &Pendulum, period_s: f64) -> [f64; 4] {
    let (a, b) = discretised(linearised(pendulum), period_s);
    let q = Matrix::diagonal(ACCEPTABLE_STATE.map(|most| 1.0 / (most * most)));
    let r = 1.0 / (ACCEPTABLE_FORCE_N * ACCEPTABLE_FORCE_N);
    let mut cost = q;
    for _ in 0..RICCATI_STEPS {
        let gains = gains_for(&cost, &a, &b, r);
        let next = q + a.transposed() * cost * (a - b * gains);
        let change = (next - cost).largest();
        cost = next;
        if change < RICCATI_SETTLED * cost.largest() {
            break;
        }
    }
    gains_for(&cost, &a, &b, r).0[0]
}

/// Returns (r + bᵀPb)⁻¹ bᵀPa, the optimal gains if the remaining cost is xᵀPx.
fn gains_for(cost: &Matrix<4, 4>, a: &Matrix<4, 4>, b: &Matrix<4, 1>, r: f64) -> Matrix<1, 4> {
    let weighted = b.transposed() * *cost;
    let denominator = r + (weighted * *b).0[0][0];
    (weighted * *a).scaled(1.0 / denominator)
}

/// Returns how the derivative changes with the state and with the force about upright. It uses central differences of
/// the plant's equations, so that the equations stand in one place only.
fn linearised(pendulum: &Pendulum) -> (Matrix<4, 4>, Matrix<4, 1>) {
    let slope = |state: [f64; 4], force_n: f64| {
        pendulum.derivative(&State::from_vector(state), Input { force_n, wind_nm: 0.0 })
    };
    let nudged = |index: usize, by: f64| std::array::from_fn(|i| if i == index { by } else { 0.0 });
    let difference = |up: [f64; 4], down: [f64; 4], row: usize| (up[row] - down[row]) / (2.0 * NUDGE);
    let a = Matrix::from_fn(|row, column| {
        difference(slope(nudged(column, NUDGE), 0.0), slope(nudged(column, -NUDGE), 0.0), row)
    });
    let b = Matrix::from_fn(|row, _| difference(slope([0.0; 4], NUDGE), slope([0.0; 4], -NUDGE), row));
    (a, b)
}

/// Discretises the system for a constant force between two samples: e^([a b; 0 0] T).
fn discretised((a, b): (Matrix<4, 4>, Matrix<4, 1>), period_s: f64) -> (Matrix<4, 4>, Matrix<4, 1>) {
    let joint = Matrix::<5, 5>::from_fn(|row, column| match (row, column) {
        (4, _) => 0.0,
        (_, 4) => b.0[row][0] * period_s,
        _ => a.0[row][column] * period_s,
    });
    let step = joint.exponential();
    (Matrix::from_fn(|row, column| step.0[row][column]), Matrix::from_fn(|row, _| step.0[row][4]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    /// Simulates the control loop without a network, with samples at `rate` and steps of about 1 ms, for `seconds`.
    fn simulate(mut state: State, rate: u32, seconds: u32) -> State {
        let period = 1.0 / f64::from(rate);
        let steps = 1000_u32.div_ceil(rate);
        let mut controller = Controller::design(period);
        for _ in 0..(seconds * rate) {
            let force_n = controller.force_n(&state);
            for _ in 0..steps {
                state = DESK.step(&state, Input { force_n, wind_nm: 0.0 }, period / f64::from(steps));
            }
        }
        state
    }

    #[test]
    fn a_leaning_rod_is_balanced_at_every_rate_of_the_demo() {
        for rate in [50, 100, 333, 1000, 5000] {
            let end = simulate(State { angle_rad: 0.2, ..State::default() }, rate, 8);
            assert!(end.vector().iter().all(|value| value.abs() < 0.01), "{rate} Hz: {end:?}");
        }
    }

    #[test]
    fn a_hanging_rod_is_swung_up_and_caught() {
        for angle_rad in [PI, -PI, 2.5, -1.5, PI + 0.3] {
            let end = simulate(State { angle_rad, ..State::default() }, 1000, 12);
            assert!(wrapped(end.angle_rad).abs() < 0.02 && end.cart_m.abs() < 0.2, "{angle_rad}: {end:?}");
        }
    }

    #[test]
    fn the_gains_have_the_right_signs_and_hardly_depend_on_the_period() {
        let coarse = regulator_gains(&DESK, 0.001);
        assert!(coarse[0] < 0.0 && coarse[2] < 0.0, "lean right, push right: {coarse:?}");
        let fine = regulator_gains(&DESK, 0.0005);
        for (a, b) in coarse.iter().zip(fine) {
            assert!((a - b).abs() < 0.02 * a.abs(), "{coarse:?} against {fine:?}");
        }
    }

    #[test]
    fn the_force_is_within_the_motors_limit() {
        let mut controller = Controller::design(0.001);
        let wild = State { cart_m: 50.0, cart_mps: -30.0, angle_rad: 0.3, angle_radps: 40.0 };
        assert!(controller.force_n(&wild).abs() <= FORCE_LIMIT_N);
    }
}
