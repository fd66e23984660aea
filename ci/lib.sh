# What the checks of this directory share. Each is a script of its own, to be run from anywhere:
#
#     ci/lint.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Prints a command, and runs it.
run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

# Says that a part of a check was not run, and why. `.ci/run` says all of it again at its end.
not_run() {
    printf '\nnot run: %s\n' "$*"
    if [ -n "${NOT_RUN:-}" ]; then
        printf '%s\n' "$*" >>"$NOT_RUN"
    fi
}

# Makes sure of a command, from the system's package of the second name.
need() {
    local as=()
    command -v "$1" >/dev/null && return
    [ "$(id -u)" = 0 ] || as=(sudo)
    run "${as[@]}" apt-get update -q
    run "${as[@]}" apt-get install -qy "$2"
}

# Makes sure of cargo's subcommand of that name, in that version where one is said, and says whether it is there. What takes longer than five
# minutes to build counts as not to be had. In a directory of its own: what is built for the crate may be of another toolchain.
cargo_tool() {
    local version
    version=$(cargo "$1" --version 2>/dev/null) && [[ "$version " == *" ${2:-}"* ]] ||
        run env -u CARGO_TARGET_DIR -u RUSTFLAGS timeout 300 cargo install --locked "cargo-$1${2:+@$2}"
}

# Makes sure of a nightly toolchain with that component, and says whether it is there. One that is there already is left as old as it is,
# unless it cannot have the component.
nightly() {
    rustup component list --toolchain nightly --installed 2>/dev/null | grep -q "^$1-" ||
        run rustup component add "$1" --toolchain nightly ||
        run rustup toolchain install nightly --profile minimal --component "$1"
}
