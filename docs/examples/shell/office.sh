#!/bin/sh
# A subsidiary without Python: fetches signed orders over HTTP, has them served on a store, brings signed receipts.
# Needs sh, curl, jq 1.6, openssl 3 and flock (util-linux). What the store does stands in office.jq.
#
#   GREFFIER_COUNTER_URL=https://rights.example.com GREFFIER_KEYS=keys GREFFIER_JOURNAL=journal.jsonl \
#     sh office.sh CODE store.json             works until SIGTERM
#     sh office.sh CODE store.json --once      one order, if one waits
#     sh office.sh CODE store.json --replay    after a restore, before anybody reads
#     sh office.sh CODE store.json --newsletter    to whom it goes: the office's own way to its contacts
#
# Arguments of programs are read by whoever has an account on this machine: no address and no key of the office's is one.
# openssl takes the key of a single message nowhere else, so let this office alone use the machine.
# An access copy above one megabyte is refused (copy-too-large); the client in Node sends it in parts.

set -eu
umask 077
LC_ALL=C
export LC_ALL

code=$1 store=$2 how=${3:-}
keys=${GREFFIER_KEYS:-keys}
journal=${GREFFIER_JOURNAL:-journal.jsonl}
here=$(cd "$(dirname "$0")" && pwd)
running=

jq() { command jq "$@" 2> /dev/null; }  # what it says of a fault quotes what stands there
jq_with() { jq -L "$here" "$@"; }
now() { date -u +%Y-%m-%dT%H:%M:%S.000Z; }
say() { printf '{"at":"%s","%s":"%s"}\n' "$(now)" "$1" "$2" >&2; }
fatal() { say trouble "$1"; exit 1; }

if [ "$how" = --newsletter ]; then
  jq_with -r 'include "office"; recipients' "$store" || fatal "the store cannot be read"
  exit
fi

# Two at once would each write what the other has not read. What was killed has let go; what it left goes now.
command -v flock > /dev/null || fatal "there is no flock on this machine"
mkdir -p "$(dirname "$journal")"
exec 9> "$journal.lock"
flock -w 5 9 || fatal "another process works with the journal"
rm -rf "$journal".work.* "$store.new"
work=$(mktemp -d "$journal.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'if [ -n "$running" ]; then kill "$running" 2> /dev/null || :; wait "$running" || :; fi; exit 0' TERM INT
touch "$journal"
sync "$(dirname "$journal")"
. "$here/sealing.sh"

[ "$(jq -r .party "$keys/party.private.json")" = "$code" ] || fatal "these keys are not of $code"
case $(type printf) in *builtin*) ;; *) fatal "this sh has no printf of its own: keys would be arguments of a program" ;; esac

# ---------------------------------------------------------------------- the journal: what was done, without a name

padded() {  # $1: a byte. The journal's key in hexadecimal, as long as a block of SHA-256, each byte combined with that one
  left=$(openssl base64 -d -A < "$keys/journal.key" | hex) place=0
  while [ $place -lt 64 ]; do
    byte=${left%"${left#??}"} left=${left#??} place=$((place + 1))
    printf %02x $((0x${byte:-00} ^ $1))
  done
}
inner=$(padded 0x36) outer=$(padded 0x5c)

# The keyed hash of an address, the same as the worker's in Python. HMAC (RFC 2104) out of its two digests: openssl takes
# its key in an argument alone.
mark() {
  { unhex "$outer"; { unhex "$inner"; printf 'greffier/journal/n1/email:%s' "$1"; } | openssl dgst -sha256 -binary; } |
    openssl dgst -sha256 -binary | hex
}

marks() {  # of whom $work/person names, in its order, into $work/marks
  jq -r '.emails[]' "$work/person" | while IFS= read -r email; do mark "$email"; echo; done | jq -cnR '[inputs]' > "$work/marks"
  jq -e --slurpfile person "$work/person" \
    'length == ($person[0].emails | length) and all(.[]; test("\\A[0-9a-f]{64}\\z"))' "$work/marks" > "$work/quiet"
}

note() { cat "$1" >> "$journal"; sync "$journal"; }  # $1: a file with a line

last() {  # the last line of a kind for a task; a torn one at the end is none
  jq -cnR --arg line "$1" --arg task "$2" \
    '[inputs | fromjson? | select(.line == $line and .task == $task)] | (if $line == "done" then last else first end) // empty' "$journal"
}

mend() {  # a line cut off by a crash or a full disk, which nothing was done after
  if [ -s "$journal" ] && [ "$(tail -c 1 "$journal" | hex)" != 0a ]; then
    sed '$d' "$journal" > "$journal.new"
    sync "$journal.new"
    mv "$journal.new" "$journal"
    sync "$(dirname "$journal")"
  fi
}

# ---------------------------------------------------------------------- serving

answer() {  # $1: an entry of the order. Leaves the receipt's entry in $work/answered, an access copy in $work/copy
  rm -f "$work/copy"
  printf '%s\n' "$1" > "$work/entry"
  today=$(date -u +%Y-%m-%d)
  if [ "$(jq_with 'include "greffier"; understood' "$work/entry")" != true ]; then refuse not-understood; return; fi
  ask=$(jq -r .ask "$work/entry") right=$(jq -r .right "$work/entry") task=$(jq -r .task "$work/entry")
  if [ "$ask" = dispose ]; then refuse not-supported; return; fi
  if [ "$sound" != true ]; then refuse schema-mismatch; return; fi
  if [ "$ask" = plant ]; then plant; return; fi
  if [ "$(jq_with 'include "greffier"; include "office"; .right | is_one_of(rights)' "$work/entry")" != true ]; then refuse not-supported; return; fi
  jq_with -c 'include "greffier"; person' "$work/entry" > "$work/person"
  if [ "$(of_store 'unclear($person)')" != false ]; then refuse not-supported; return; fi
  if [ "$ask" = look ]; then
    look
  elif [ "$right" = access ] || [ "$right" = portability ]; then
    give_copy
  else
    change
  fi
}

# Whether records can be told apart, into $sound: jq finds them by their ids, and it rounds long numbers, which it would
# write back rounded. Fails where the store cannot be read: then nothing is answered.
weigh_store() {
  sound=$(jq_with 'include "office"; sound' "$store")
  if sed -E 's/"([^"\\]|\\.)*"//g; s/\.[0-9]+//g' "$store" | grep -Eq '[0-9]{16}|[eE][-+]?[0-9]{3}'; then sound=false; fi
}

of_store() {  # $1: a filter of office.jq, over the store; $2: whom it is about, if not the person
  jq_with -c --arg right "$right" --arg today "$today" --slurpfile people "${2:-$work/person}" \
    'include "office"; $people[0] as $person | '"$1" "$store"
}

finish_entry() {  # $1: a file of counts
  jq_with -c --slurpfile counts "$1" --arg at "$(now)" 'include "greffier"; answered($counts[0]; $at)' "$work/entry" > "$work/answered"
}

refuse() {
  jq_with -c --arg reason "$1" --arg at "$(now)" 'include "greffier"; refused($reason; $at)' "$work/entry" > "$work/answered"
}

# Whom no restriction of another task names, into $work/free: their mark is theirs alone to lift.
free() {
  marks
  jq_with -cnR --arg task "$task" --slurpfile marks "$work/marks" --slurpfile person "$work/person" \
    'include "greffier"; [inputs | fromjson?] | restricted_by_others($task) | free($person[0]; $marks[0])' "$journal" > "$work/free"
}

look() {
  of_store 'look($right; $person; $today)' > "$work/counts"
  if [ "$right" = restriction ] && last done "$task" | jq -e '.entry.ask == "lift"' > "$work/quiet"; then
    free  # what stands for another's sake is not ours any more
    of_store 'look($right; $person; $today)' "$work/free" > "$work/ours"
    jq -c --slurpfile ours "$work/ours" 'map(.name as $name | .restricted = ([$ours[0][] | select(.name == $name) | .restricted] | add // 0))' \
      "$work/counts" > "$work/with"
    mv "$work/with" "$work/counts"
  fi
  finish_entry "$work/counts"
}

answered_before() {  # $1: the task's last answer; of this attempt or a later one it is given again
  [ -n "$1" ] || return 1
  printf %s "$1" | jq -e --slurpfile entry "$work/entry" '$entry[0].ask == "plant" or .attempt >= $entry[0].attempt' > "$work/quiet" || return 1
  printf %s "$1" | jq -c --slurpfile entry "$work/entry" '.entry + {attempt: $entry[0].attempt}' > "$work/answered" || exit 1
}

# Counted, written down as begun, done, written down as done: killed anywhere, the next delivery completes it. A task that
# was answered is not done again at the same attempt; a later attempt is the controller asking anew.
change() {
  done=$(last done "$task")
  if answered_before "$done"; then return; fi
  if [ "$right" = wish ]; then echo '[]'; else of_store 'plan($right; $person; $today)'; fi > "$work/planned"
  begun=$(last begun "$task")
  if [ -n "$done" ]; then
    printf %s "$done" | jq -c .entry.collections > "$work/earlier"
  elif [ -n "$begun" ]; then
    printf %s "$begun" | jq_with -c --slurpfile now "$work/planned" 'include "greffier"; .stood | lost($now[0])' > "$work/earlier"
  else
    echo '[]' > "$work/earlier"
  fi
  if [ -z "$begun" ]; then
    marks
    jq -c --slurpfile marks "$work/marks" --slurpfile stood "$work/planned" --arg at "$(now)" \
      '{line: "begun", task, right, received_at, marks: ($marks[0] | sort), stood: $stood[0], at: $at}
       + (if .right == "wish" then {accepts: (.accepts == "yes"), refused_at, version} else {} end)' "$work/entry" > "$work/line"
    note "$work/line"
  fi
  if [ "$ask" = lift ]; then
    free
    change_store 'lift($person; $today)' "$work/free"
    jq -c 'map(del(.restricted))' "$work/planned" > "$work/counts"  # it is marked no more, whatever was before
  elif [ "$right" = objection ] || [ "$right" = wish ]; then
    abide
    of_store 'look("objection"; $person; $today)' > "$work/counts"  # what stands
    if [ "$right $deed" = "objection object" ]; then
      jq_with -c --slurpfile earlier "$work/earlier" 'include "greffier"; together($earlier[0])' "$work/counts" > "$work/with"
      mv "$work/with" "$work/counts"
    fi
  else
    change_store 'act($right; $person; $today)'
    jq_with -c --slurpfile earlier "$work/earlier" 'include "greffier"; together($earlier[0])' "$work/planned" > "$work/counts"
  fi
  finish_entry "$work/counts"
  finish
}

# A "no", or what somebody wishes of all that they refused and accepted: what is done is what all that was ever heard comes
# to, so that every order of orders ends the same. Leaves whom it was about in $work/person, and what was done in $deed.
abide() {
  marks
  jq_with -cnR --arg right "$right" --slurpfile person "$work/person" --slurpfile marks "$work/marks" \
    'include "greffier"; [inputs | fromjson?] | abiding($right; $person[0]; $marks[0])' "$journal" > "$work/abiding"
  jq -c .person "$work/abiding" > "$work/person"
  deed=$(jq -r .deed "$work/abiding")
  case $deed in
    accept) change_store 'accept($person; $today)' ;;
    object) change_store 'act("objection"; $person; $today)' ;;
  esac
}

finish() {
  jq -c '{line: "done", task, attempt, entry: .}' "$work/answered" > "$work/line"
  note "$work/line"
}

plant() {  # a fictional person, whom the group then asks about; once, or nobody would ever erase the second
  right=access
  if answered_before "$(last done "$task")"; then return; fi
  jq -c --arg at "$(now)" '{emails: [.address], received_at: $at}' "$work/entry" > "$work/person"
  change_store 'plant($person; $today)'
  of_store 'look($right; $person; $today)' > "$work/counts"
  finish_entry "$work/counts"
  finish
}

change_store() {  # as of_store. Whole or not at all, and for whom it was: written beside, on disk, moved over
  cp -p "$store" "$store.new"
  of_store "$@" > "$store.new"
  sync "$store.new"
  mv "$store.new" "$store"
  sync "$(dirname "$store")"
}

give_copy() {
  of_store 'copy($right; $person; $today)' > "$work/collections"
  jq -c 'map({name, matched: (.records | length)})' "$work/collections" > "$work/counts"
  finish_entry "$work/counts"
  [ "$(jq length "$work/counts")" != 0 ] || return 0
  jq_with -jcS --arg store "$code" 'include "greffier"; {store: $store, collections: map(.records |= plain)}' "$work/collections" > "$work/copy"
  if [ "$(wc -c < "$work/copy")" -gt 1048576 ]; then
    rm "$work/copy"
    refuse copy-too-large
    return
  fi
  digest=$(openssl dgst -sha256 -binary "$work/copy" | hex)
  jq -c --arg digest "$digest" '. + {copy_sha256: $digest}' "$work/answered" > "$work/with"
  mv "$work/with" "$work/answered"
}

receipt() {  # $1: the order's jti, $2: a file of entries, one a line, $3: an access copy or nothing. Leaves it in $work/receipt
  jq -cs --arg order "$1" --arg iss "$code" --arg jti "$(openssl rand -hex 16)" --argjson iat "$(date +%s)" \
    '{iss: $iss, aud: "controller", iat: $iat, exp: ($iat + 604800), jti: $jti, order: $order, entries: .}' "$2" > "$work/said"
  sign greffier-receipt+jwt "$work/said" > "$work/signed"
  {
    printf '{"receipt":"'; cat "$work/signed"; printf '","copies":{'
    if [ -n "${3:-}" ]; then jq -c .task "$2" | tr -d '\n'; printf ':'; cat "$3"; fi
    printf '}}'
  } > "$work/message"
  seal "$work/message" > "$work/token"
  { printf '{"receipt":"'; cat "$work/token"; printf '"}'; } > "$work/receipt"
}

serve() {  # the order that lies in $work/answer, if it is one
  mend
  jq -j '.order | strings' "$work/answer" > "$work/order"
  if open_order "$work/order" "$work/claims"; then :; else say refused "$(cat "$work/why")"; return 0; fi
  jti=$(jq -r .jti "$work/claims")
  jq_with -c --arg code "$code" 'include "greffier"; ours($code)[]' "$work/claims" > "$work/entries"
  : > "$work/together"
  weigh_store
  while IFS= read -r one; do
    answer "$one"
    if [ -f "$work/copy" ]; then
      receipt "$jti" "$work/answered" "$work/copy"
      bring
    else
      cat "$work/answered" >> "$work/together"
    fi
  done < "$work/entries"
  if [ -s "$work/together" ]; then
    receipt "$jti" "$work/together"
    bring
  fi
}

# ---------------------------------------------------------------------- the carrier

call() {  # curl with a fresh token, which stands in a file and in no argument; leaves $status and $work/answer, of 8 MB at most
  jq -cn --arg iss "$code" --arg jti "$(openssl rand -hex 16)" --argjson iat "$(date +%s)" \
    '{iss: $iss, aud: "counter", iat: $iat, exp: ($iat + 120), jti: $jti}' > "$work/said"
  sign greffier-call+jwt "$work/said" > "$work/token"
  { printf 'Authorization: Bearer '; cat "$work/token"; echo; } > "$work/header"
  (ulimit -f 16384 && exec curl --silent --max-time 75 --header "@$work/header" --output "$work/answer" --write-out '%{http_code}' "$@") \
    > "$work/status" 2> "$work/quiet" 9>&- &
  running=$!
  wait "$running" || echo "no answer" > "$work/status"
  status=$(cat "$work/status") running=
}

bring() {
  while :; do
    call --header 'Content-Type: application/json' --data-binary "@$work/receipt" "$GREFFIER_COUNTER_URL/receipts"
    case $status in
      202) return ;;
      429 | 503) sleep 2 ;;
      *) say trouble "receipts: $status"; return 1 ;;
    esac
  done
}

# Whoever was served and came back is served again. What was lifted stays so; what was corrected, and to what, the journal
# does not know.
replay() {
  weigh_store
  [ "$sound" = true ] || fatal "schema-mismatch"
  jq_with -r 'include "office"; identifiers' "$store" > "$work/stored"
  sort -u "$work/stored" > "$work/known"
  while IFS= read -r email; do
    jq_with -cnR --arg mark "$(mark "$email")" 'include "greffier"; [inputs | fromjson?] | of_address($mark)' "$journal" > "$work/again"
    while IFS= read -r line; do
      printf '%s\n' "$line" > "$work/line"
      printf %s "$email" > "$work/email"
      right=$(jq -r .right "$work/line") today=$(date -u +%Y-%m-%d)
      jq -c --rawfile email "$work/email" '{emails: [$email], received_at}' "$work/line" > "$work/person"
      change_store 'act($right; $person; $today)'
    done < "$work/again"
    right=wish today=$(date -u +%Y-%m-%d)
    printf %s "$email" > "$work/email"
    jq -cn --rawfile email "$work/email" '{emails: [$email]}' > "$work/person"
    abide
  done < "$work/known"
}

mend
jq -nRe 'all(inputs; fromjson? // {} | has("line"))' "$journal" > "$work/quiet" || fatal "the journal is damaged: restore it, do not edit it"
if [ "$how" = --replay ]; then
  (replay) &  # by itself: whatever fails in it ends it there
  running=$!
  wait "$running" || fatal "the replay did not come to its end: run it again"
  exit
fi

# One order after the other, each fetched, served and answered. What is not brought is fetched again when its lease has
# lapsed, and answered the same from the journal.
patience=50
if [ "$how" = --once ]; then patience=0; fi
while :; do
  failed=0
  call "$GREFFIER_COUNTER_URL/tasks?wait=$patience"
  case $status in
    204) ;;
    200)
      (serve) &  # by itself: whatever fails in it ends it there
      running=$!
      wait "$running" || { failed=1; say trouble "not served"; }
      running=
      ;;
    *) failed=1; say trouble "tasks: $status" ;;
  esac
  if [ "$how" = --once ]; then exit "$failed"; fi
  if [ "$failed" = 1 ]; then sleep 2; fi
done
