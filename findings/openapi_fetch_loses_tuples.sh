#!/usr/bin/env bash
# openapi-fetch 0.17.0 with openapi-typescript 7.13.0: the type of a JSON array of fixed length in an answer.
#
# An array with prefixItems and equal minItems and maxItems is a tuple. openapi-typescript types it as one, [number, number].
# One expects client.GET(...).data to have the same type, components["schemas"]["Pair"], which the generator wrote.
# Since openapi-fetch maps answers through Readable<> (for readOnly and writeOnly), it is number[]: the case for arrays there
# infers the element and forgets the length. So an answer cannot be passed to a function that takes the schema's own type, and
# under noUncheckedIndexedAccess each element may be undefined. Nothing in this description is readOnly or writeOnly.
# It matters for everybody who names schema types in signatures: the compiler says that two types of the same name are unrelated.
# Output seen: "TS2345", "Target requires 2 element(s) but source may have fewer."; with openapi-fetch 0.15.0: "compiles".
# The script also needs Node.js with npm.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >package.json <<'JSON'
{ "private": true, "type": "module" }
JSON
cat >openapi.json <<'JSON'
{
  "openapi": "3.1.0",
  "info": { "title": "t", "version": "1" },
  "paths": { "/pair": { "get": { "responses": { "200": { "description": "a pair", "content": { "application/json": {
    "schema": { "$ref": "#/components/schemas/Pair" } } } } } } } },
  "components": { "schemas": { "Pair": { "type": "object", "required": ["logits"], "properties": { "logits": {
    "type": "array", "prefixItems": [{ "type": "number" }, { "type": "number" }], "minItems": 2, "maxItems": 2 } } } } }
}
JSON
cat >program.ts <<'TS'
import createClient from "openapi-fetch";
import type { components, paths } from "./types.js";
const second = (pair: components["schemas"]["Pair"]): number => pair.logits[1];
const { data } = await createClient<paths>().GET("/pair");
if (data) second(data);
TS

compile() {
    npm install --silent --no-audit --no-fund "openapi-fetch@$1" openapi-typescript@7.13.0 typescript@5.9.3
    npx openapi-typescript openapi.json --output types.ts >/dev/null
    npx tsc --noEmit --strict --skipLibCheck --target es2022 --module nodenext --lib es2022,dom program.ts && echo compiles
}

said=$(compile 0.15.0)
echo "openapi-fetch 0.15.0: $said"
[ "$said" = compiles ]
grep -q "logits: \[" types.ts # the generator's type is a tuple
said=$(compile 0.17.0 || true)
echo "openapi-fetch 0.17.0: $said"
[[ $said == *TS2345* && $said == *"Target requires 2 element(s)"* ]] || { echo "the behaviour has changed"; exit 1; }
