# JWS and JWE by openssl: Ed25519, X25519 (ECDH-ES+A256KW), A256GCM. One algorithm each, no choice. Read by office.sh.

hex() { od -An -v -tx1 | tr -d ' \n'; }
unhex() { printf "$(printf '\\%03o' $(printf %s "$1" | sed 's/../0x& /g'))"; }
b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
unb64() {
  coded=$(tr -d '\n' | tr -- '-_' '+/')
  case $((${#coded} % 4)) in 2) coded="$coded==" ;; 3) coded="$coded=" ;; esac
  printf %s "$coded" | openssl base64 -d -A
}

# Keys as openssl reads them: a JWK's member behind the head that RFC 8410 gives it.
ED_PRIVATE=302e020100300506032b657004220420 ED_PUBLIC=302a300506032b6570032100
X_PRIVATE=302e020100300506032b656e04220420 X_PUBLIC=302a300506032b656e032100
key() { unhex "$1"; unb64; }  # $1: head; the member on standard input
own() { jq -j ".$1" "$keys/party.private.json"; }  # into a pipe: our own keys stand in no file but theirs

sign() {  # $1: kind, $2: a file of claims. Prints the token
  {
    jq -cnj --arg kid "$(own signing.kid)" --arg typ "$1" '{alg: "Ed25519", kid: $kid, typ: $typ}' | b64
    printf .
    tr -d '\n' < "$2" | b64
  } > "$work/to-sign"
  own signing.d | key "$ED_PRIVATE" |
    openssl pkeyutl -sign -rawin -inkey /dev/stdin -keyform DER -in "$work/to-sign" -out "$work/signature"
  cat "$work/to-sign"
  printf .
  b64 < "$work/signature"
}

wrapping_key() {  # $1: the other's public key; the own private one on standard input. In hexadecimal; RFC 7518 § 4.6.2, one round
  {
    unhex 00000001
    openssl pkeyutl -derive -inkey /dev/stdin -keyform DER -peerkey "$1" -peerform DER
    unhex 0000000e
    printf ECDH-ES+A256KW
    unhex 000000000000000000000100
  } | openssl dgst -sha256 -binary | hex
}

# openssl has no AES-GCM on its command line, but its two halves: counter mode, and GMAC over header and text. GMAC ends
# with the length of its one input where GCM ends with both lengths, which one product in its field sets right.
gcm_tag() {  # $1: key, $2: nonce (hexadecimal), $3: file of the header, $4: file of the sealed text
  header=$(wc -c < "$3") text=$(wc -c < "$4")
  { cat "$3"; zeros $((-header & 15)); cat "$4"; zeros $((-text & 15)); } > "$work/authenticated"
  all=$(wc -c < "$work/authenticated")
  mac=$(openssl mac -cipher AES-256-GCM -macopt "hexkey:$1" -macopt "hexiv:$2" -in "$work/authenticated" GMAC | tr 'A-F' 'a-f')
  point=$(zeros 16 | openssl enc -aes-256-ecb -nopad -K "$1" | hex)
  set -- "$mac" "$(product 0 $(((all ^ header) * 8)) 0 $((text * 8)) "$point")"
  for place in 1 9 17 25; do
    printf %08x $((0x$(cut_hex "$1" $place) ^ 0x$(cut_hex "$2" $place)))
  done
}

zeros() { head -c "$1" /dev/zero; }
cut_hex() { printf %s "$1" | cut -c "$2-$(($2 + 7))"; }

product() {  # four words of 32 bits, times a point, in GCM's field (SP 800-38D § 6.3)
  a=$((0x$(cut_hex "$5" 1))) b=$((0x$(cut_hex "$5" 9))) c=$((0x$(cut_hex "$5" 17))) d=$((0x$(cut_hex "$5" 25)))
  w=0 x=0 y=0 z=0
  for word in "$1" "$2" "$3" "$4"; do
    bit=31
    while [ $bit -ge 0 ]; do
      if [ $((word >> bit & 1)) = 1 ]; then w=$((w ^ a)) x=$((x ^ b)) y=$((y ^ c)) z=$((z ^ d)); fi
      odd=$((d & 1))
      d=$((d >> 1 | (c & 1) << 31)) c=$((c >> 1 | (b & 1) << 31)) b=$((b >> 1 | (a & 1) << 31)) a=$((a >> 1 ^ odd * 0xe1000000))
      bit=$((bit - 1))
    done
  done
  printf %08x%08x%08x%08x $w $x $y $z
}

seal() {  # $1: a file. Prints a token to the controller
  openssl genpkey -algorithm X25519 -outform DER -out "$work/once.der" 2> "$work/quiet"
  x=$(openssl pkey -inform DER -in "$work/once.der" -pubout -outform DER | tail -c 32 | b64)
  jq -j .sealing.x "$keys/controller.public.json" | key "$X_PUBLIC" > "$work/to.der"
  jq -cj --arg x "$x" '{alg: "ECDH-ES+A256KW", enc: "A256GCM", kid: .sealing.kid, epk: {kty: "OKP", crv: "X25519", x: $x}}' \
    "$keys/controller.public.json" | b64 > "$work/aad"
  key=$(openssl rand -hex 32) nonce=$(openssl rand -hex 12)
  unhex "$key" | openssl enc -id-aes256-wrap -K "$(wrapping_key "$work/to.der" < "$work/once.der")" -iv a6a6a6a6a6a6a6a6 > "$work/wrapped"
  openssl enc -aes-256-ctr -K "$key" -iv "${nonce}00000002" -in "$1" -out "$work/sealed"
  tag=$(gcm_tag "$key" "$nonce" "$work/aad" "$work/sealed")
  cat "$work/aad"
  printf '.%s.%s.' "$(b64 < "$work/wrapped")" "$(unhex "$nonce" | b64)"
  b64 < "$work/sealed"
  printf '.%s' "$(unhex "$tag" | b64)"
}

fail() { echo "$1" > "$work/why"; return 1; }

unseal() {  # $1: a file with a token, $2: where its text goes
  [ "$(wc -c < "$1")" -le 4194304 ] || { fail too_large; return 1; }
  [ "$(tr -cd . < "$1" | wc -c)" = 4 ] || { fail bad_seal; return 1; }
  cut -d. -f1 "$1" | tr -d '\n' > "$work/aad"
  unb64 < "$work/aad" > "$work/head" 2> "$work/quiet"
  jq -e '.alg == "ECDH-ES+A256KW" and .enc == "A256GCM"' "$work/head" > "$work/quiet" 2>&1 || { fail bad_seal; return 1; }
  jq -j .epk.x "$work/head" | key "$X_PUBLIC" > "$work/from.der"
  kek=$(own opening.d | key "$X_PRIVATE" | wrapping_key "$work/from.der") || { fail bad_seal; return 1; }
  key=$(cut -d. -f2 "$1" | unb64 | openssl enc -d -id-aes256-wrap -K "$kek" -iv a6a6a6a6a6a6a6a6 2> "$work/quiet" | hex)
  [ ${#key} = 64 ] || { fail bad_seal; return 1; }
  nonce=$(cut -d. -f3 "$1" | unb64 | hex) tag=$(cut -d. -f5 "$1" | unb64 | hex)
  [ ${#nonce} = 24 ] && [ ${#tag} = 32 ] || { fail bad_seal; return 1; }
  cut -d. -f4 "$1" | unb64 > "$work/sealed"
  [ "$(gcm_tag "$key" "$nonce" "$work/aad" "$work/sealed")" = "$tag" ] || { fail bad_seal; return 1; }
  openssl enc -d -aes-256-ctr -K "$key" -iv "${nonce}00000002" -in "$work/sealed" -out "$2"
}

open_order() {  # $1: a sealed order, $2: where its claims go. Fails, with the reason in $work/why, for what is none to us, in time
  unseal "$1" "$work/text" || return 1
  cut -d. -f1 "$work/text" | unb64 > "$work/head" 2> "$work/quiet"
  jq -e '(keys == ["alg", "kid", "typ"]) and .alg == "Ed25519"' "$work/head" > "$work/quiet" 2>&1 || { fail bad_signature; return 1; }
  x=$(jq -r --slurpfile head "$work/head" '.verifying[] | select(.kid == $head[0].kid) | .x' "$keys/controller.public.json")
  [ -n "$x" ] || { fail unknown_key; return 1; }
  printf %s "$x" | key "$ED_PUBLIC" > "$work/verifying.der"
  cut -d. -f1,2 "$work/text" | tr -d '\n' > "$work/said"
  cut -d. -f3 "$work/text" | unb64 > "$work/signature"
  openssl pkeyutl -verify -pubin -inkey "$work/verifying.der" -keyform DER -rawin -in "$work/said" -sigfile "$work/signature" \
    > "$work/quiet" 2>&1 || { fail bad_signature; return 1; }
  jq -e '.typ == "greffier-order+jwt"' "$work/head" > "$work/quiet" || { fail wrong_kind; return 1; }
  cut -d. -f2 "$work/text" | unb64 > "$2"
  why=$(jq -r --arg code "$code" --arg party "$(jq -r .party "$keys/controller.public.json")" --argjson now "$(date +%s)" '
    if .iss != $party then "wrong_issuer" elif .aud != $code then "wrong_audience"
    elif $now >= .exp then "expired" elif .iat > $now + 300 then "from_the_future"
    elif .exp - .iat > 604800 then "lives_too_long"
    elif (.jti | type) != "string" or (.entries | type) != "array" or (.entries | length) < 1 or (.entries | length) > 500
    then "malformed_order" else "" end' "$2") || { fail malformed_token; return 1; }
  [ -z "$why" ] || { fail "$why"; return 1; }
}
