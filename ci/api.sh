#!/usr/bin/env bash
# The public API is the one that `api/public-api.txt` lists, with all features, and only what is listed here of other crates is a part of
# it. A change is seen in the diff of that file, which is written anew by
#
#     ci/api.sh --update
#
# The toolchain and the tool are of fixed versions, so that only this crate can change the listing. Against the last release, where
# there is one, cargo-semver-checks says whether the version may stay.
. "$(dirname "$0")/lib.sh"

listing=api/public-api.txt
toolchain=nightly-2026-05-20
tool=0.52.0

others=(
    alloc core std
    axum_core # the extractor, with the feature `axum`
    bytes
    http
    http_body
    pin_project_lite # where it says what is `Unpin`; nobody can name it
    serde_core       # settings from JSON, with the feature `serde`
    tower            # its trait for policies, with the feature `retry`
    tower_layer
    tower_service
)

check() {
    local new foreign known
    printf '\n$ cargo %s public-api --all-features -ss\n' "+$toolchain"
    # How a type's `PartialEq` was made is nobody's business, and the guide's pages are no code.
    new=$(cargo "+$toolchain" public-api --all-features -ss | grep -v -e StructuralPartialEq -e '^pub mod portcullis::guide')
    if [ "${1:-}" = --update ]; then
        mkdir -p "$(dirname "$listing")"
        printf '%s\n' "$new" >"$listing"
    fi
    diff -U 0 "$listing" - <<<"$new" || { printf '\nThe public API is not the one of %s; see ci/api.sh.\n' "$listing"; return 1; }

    foreign=$(grep -oP '(?<![\w:])[a-z_]\w*(?=::)' "$listing" | sort -u | grep -vx portcullis)
    known=$(printf '%s\n' "${others[@]}" | sort)
    printf '\nCrates that are part of the public API: %s\n' "${foreign//$'\n'/ }"
    diff -U 0 <(printf '%s\n' "$known") <(printf '%s\n' "$foreign") || { printf '\nThose are not the ones of ci/api.sh.\n'; return 1; }
}

if cargo "+$toolchain" --version >/dev/null 2>&1 || run rustup toolchain install "$toolchain" --profile minimal &&
    cargo_tool public-api "$tool"; then
    check "$@"
else
    not_run "the public API's listing: it needs $toolchain and cargo-public-api $tool"
fi

release=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) || release=
if [ -z "$release" ]; then
    not_run 'cargo-semver-checks: there is no release to compare with'
elif cargo_tool semver-checks; then
    run cargo semver-checks --all-features --baseline-rev "$release"
else
    not_run 'cargo-semver-checks: it is not to be had'
fi
