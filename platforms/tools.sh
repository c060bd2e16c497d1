# What platforms/check and platforms/wine share: a compiler with the source of its library, from Debian's packages. The library is
# then built for each target, so no rustup and no SDK is needed. Everything lands in target/platforms; the machine's own toolchain
# stays as it is. Source this file from the root of the repository.

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/platforms
tools=$CARGO_TARGET_DIR/tools
sysroot=$tools/root/usr/lib/rustlib

# Prints the command that installs packages of the system, as this user can run it.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs programs of Debian that are missing: pairs of a program (or a file) and its package.
need() {
    local missing=()
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -eq 0 ] && return
    command -v apt-get >/dev/null || { echo "install these first: ${missing[*]}" >&2; exit 1; }
    echo "installing ${missing[*]}"
    as_root apt-get -qq update
    as_root apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# Downloads the compiler and unpacks it, unless it is there.
install_compiler() {
    if [ ! -e "$tools/READY" ]; then
        command -v apt-get >/dev/null || { echo "this needs Debian or a system of its kind (apt-get)" >&2; exit 1; }
        rm -rf "$tools"
        mkdir -p "$tools"
        echo "downloading rustc-web from Debian's archive into $tools"
        as_root apt-get -qq update
        local depends
        # The library and LLVM carry their versions in their names.
        depends=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
            --no-enhances rustc-web | grep -E '^(libstd-rust-web-[0-9.]+|libllvm[0-9]+)$' | sort -uV)
        # shellcheck disable=SC2086 # one argument for each package
        (cd "$tools" && apt-get -qq -o APT::Sandbox::User=root download rustc-web libstd-rust-web-dev rust-web-src $depends)
        for package in "$tools"/*.deb; do
            dpkg -x "$package" "$tools/root"
        done
        rm "$tools"/*.deb
        touch "$tools/READY"
    fi
    export RUSTC=$tools/root/usr/bin/rustc RUSTC_BOOTSTRAP=1
    export LD_LIBRARY_PATH=$tools/root/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    "$RUSTC" --version
}

# Calls cargo for a target, with the library built from its source. Its part for tests belongs to every build: cargo adds it to builds
# of tests, and everything would be built twice.
cargo_for() {
    local target=$1 command=$2
    shift 2
    cargo "$command" -Zbuild-std=std,panic_unwind,test --target "$target" --locked "$@"
}
