#!/usr/bin/env bash
# Makes the seeds of the target `signature_headers` of the vectors of the crate's tests. Needs `jq`.
set -euo pipefail
cd "$(dirname "$0")"

vectors=../tests/data/signature_vectors.json
mkdir -p seeds/signature_headers
for id in $(jq -r '.[].id' "$vectors"); do
    jq -j --arg id "$id" '
        { genesys_open_messaging: "genesys", hmac_sha512_hex: "sha512_hex", hmac_sha512_base64: "sha512_base64" } as $names
        | .[] | select(.id == $id) | ($names[.provider] // .provider) as $name
        | ([$name, .secret, (.now_unix // 1700000000 | tostring)] + [.headers[] | "\(.[0]): \(.[1])"] | join("\n"))
        + "\n\n" + (.body_utf8 // (.body_b64 | @base64d))
    ' "$vectors" >"seeds/signature_headers/$id"
done
