#!/bin/sh
# A subsidiary without Python: fetches signed orders over HTTP, has them served on a store, brings signed receipts.
# Needs sh, curl, jq 1.6 and openssl 3. What the store does stands in office.jq.
#
#   GREFFIER_COUNTER_URL=https://rights.example.com GREFFIER_KEYS=keys GREFFIER_JOURNAL=journal.jsonl \
#     sh office.sh CODE store.json             works until SIGTERM
#     sh office.sh CODE store.json --once      one order, if one waits
#     sh office.sh CODE store.json --replay    after a restore, before anybody reads
#     sh office.sh CODE store.json --newsletter    to whom it goes: the office's own way to its contacts
#
# Keys appear in the arguments of openssl, for whoever else has an account on this machine: give it to this office alone.
# An access copy above one megabyte is refused (copy-too-large); the client in Node sends it in parts.

set -eu
umask 077
LC_ALL=C
export LC_ALL

code=$1 store=$2 how=${3:-}
keys=${GREFFIER_KEYS:-keys}
journal=${GREFFIER_JOURNAL:-journal.jsonl}
here=$(cd "$(dirname "$0")" && pwd)
. "$here/sealing.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 0' TERM INT
mkdir -p "$(dirname "$journal")"
touch "$journal"

jq_with() { jq -L "$here" "$@"; }
now() { date -u +%Y-%m-%dT%H:%M:%S.000Z; }
say() { printf '{"at":"%s","%s":"%s"}\n' "$(now)" "$1" "$2" >&2; }

[ "$(jq -r .party "$keys/party.private.json")" = "$code" ] || { say trouble "these keys are not of $code"; exit 1; }

# ---------------------------------------------------------------------- the journal: what was done, without a name

mark() {  # the keyed hash of an address, the same as the worker's in Python
  printf 'greffier/journal/n1/email:%s' "$1" |
    openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(openssl base64 -d -A < "$keys/journal.key" | hex)" -binary | hex
}

note() { printf '%s\n' "$1" >> "$journal"; sync "$journal"; }

last() {  # the last line of a kind for a task; a torn one at the end is none
  jq -cnR --arg line "$1" --arg task "$2" \
    '[inputs | fromjson? | select(.line == $line and .task == $task)] | (if $line == "done" then last else first end) // empty' "$journal"
}

mend() {  # a line cut off by a crash, which nothing was done after
  if [ -s "$journal" ] && [ "$(tail -c 1 "$journal" | hex)" != 0a ]; then
    sed '$d' "$journal" > "$journal.new" && mv "$journal.new" "$journal"
  fi
}

# ---------------------------------------------------------------------- serving

answer() {  # $1: an entry of the order. Leaves the receipt's entry in $work/answered, an access copy in $work/copy
  rm -f "$work/copy"
  printf %s "$1" > "$work/entry"
  today=$(date -u +%Y-%m-%d)
  ask=$(jq -r .ask "$work/entry") right=$(jq -r .right "$work/entry")
  if [ "$(jq_with 'include "greffier"; understood' "$work/entry")" != true ]; then refuse not-understood; return; fi
  if [ "$ask" = dispose ]; then refuse not-supported; return; fi
  if [ "$ask" = plant ]; then plant; return; fi
  if [ "$(jq_with 'include "office"; [.right] | inside(rights)' "$work/entry")" != true ]; then refuse not-supported; return; fi
  jq_with -c 'include "greffier"; person' "$work/entry" > "$work/person"
  if [ "$ask" = look ]; then
    of_store 'look($right; $person; $today)' > "$work/tallies"
    finish_entry "$work/tallies"
  elif [ "$right" = access ] || [ "$right" = portability ]; then
    give_copy
  else
    change
  fi
}

of_store() {  # $1: a filter of office.jq, over the store
  jq_with -c --arg right "$right" --arg today "$today" --slurpfile people "$work/person" \
    'include "office"; $people[0] as $person | '"$1" "$store"
}

finish_entry() {  # $1: a file of counts
  jq_with -c --slurpfile counts "$1" --arg at "$(now)" 'include "greffier"; answered($counts[0]; $at)' "$work/entry" > "$work/answered"
}

refuse() {
  jq_with -c --arg reason "$1" --arg at "$(now)" 'include "greffier"; refused($reason; $at)' "$work/entry" > "$work/answered"
}

# Counted, written down as begun, done, written down as done: killed anywhere, the next delivery completes it. A task that
# was answered is not done again at the same attempt; a later attempt is the controller asking anew.
change() {
  task=$(jq -r .task "$work/entry")
  done=$(last done "$task")
  if [ -n "$done" ] && printf %s "$done" | jq -e --slurpfile entry "$work/entry" '.attempt >= $entry[0].attempt' > "$work/same"; then
    printf %s "$done" | jq -c --slurpfile entry "$work/entry" '.entry + {attempt: $entry[0].attempt}' > "$work/answered"
    return
  fi
  of_store 'plan($right; $person; $today)' > "$work/planned"
  begun=$(last begun "$task")
  if [ -n "$done" ]; then
    printf %s "$done" | jq -c .entry.collections > "$work/earlier"
  elif [ -n "$begun" ]; then
    printf %s "$begun" | jq_with -c --slurpfile now "$work/planned" 'include "greffier"; .stood | lost($now[0])' > "$work/earlier"
  else
    echo '[]' > "$work/earlier"
    marks=$(jq -r '.emails[]' "$work/person" | while read -r email; do mark "$email"; echo; done | sort | jq -cnR '[inputs]')
    note "$(jq -c --argjson marks "$marks" --slurpfile stood "$work/planned" --arg at "$(now)" \
      '{line: "begun", task, right, received_at, marks: $marks, stood: $stood[0], at: $at}' "$work/entry")"
  fi
  if [ "$ask" = lift ]; then
    change_store 'lift($person; $today)'
    jq -c 'map(del(.restricted))' "$work/planned" > "$work/counts"  # it is marked no more, whatever was before
  else
    change_store 'act($right; $person; $today)'
    jq_with -c --slurpfile earlier "$work/earlier" 'include "greffier"; together($earlier[0])' "$work/planned" > "$work/counts"
  fi
  finish_entry "$work/counts"
  note "$(jq -c '{line: "done", task, attempt, entry: .}' "$work/answered")"
}

plant() {  # a fictional person, whom the group then asks about
  right=access
  jq -c --arg at "$(now)" '{emails: [.address], received_at: $at}' "$work/entry" > "$work/person"
  change_store 'plant($person; $today)'
  of_store 'look($right; $person; $today)' > "$work/tallies"
  finish_entry "$work/tallies"
}

change_store() {  # $1: a filter of office.jq. Whole or not at all: written beside, on disk, moved over
  of_store "$1" > "$store.new"
  sync "$store.new"
  mv "$store.new" "$store"
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
  jq -c --arg digest "$digest" '. + {copy_sha256: $digest}' "$work/answered" > "$work/with" && mv "$work/with" "$work/answered"
}

receipt() {  # $1: the order's jti, $2: a file of entries, one a line, $3: an access copy or nothing. Leaves it in $work/receipt
  claims=$(jq -cs --arg order "$1" --arg iss "$code" --arg jti "$(openssl rand -hex 16)" --argjson iat "$(date +%s)" \
    '{iss: $iss, aud: "controller", iat: $iat, exp: ($iat + 604800), jti: $jti, order: $order, entries: .}' "$2")
  {
    printf '{"receipt":"%s","copies":{' "$(sign greffier-receipt+jwt "$claims")"
    if [ -n "${3:-}" ]; then jq -c .task "$2" | tr -d '\n'; printf ':'; cat "$3"; fi
    printf '}}'
  } > "$work/message"
  seal "$work/message" > "$work/token"
  { printf '{"receipt":"'; cat "$work/token"; printf '"}'; } > "$work/receipt"
}

serve() {  # an opened order in $work/claims
  jti=$(jq -r .jti "$work/claims")
  jq_with -c --arg code "$code" 'include "greffier"; ours($code)[]' "$work/claims" > "$work/entries"
  : > "$work/together"
  while read -r one; do
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

call() {  # curl with a fresh token, which stands in a file and in no argument; prints the status
  claims=$(jq -cn --arg iss "$code" --arg jti "$(openssl rand -hex 16)" --argjson iat "$(date +%s)" \
    '{iss: $iss, aud: "counter", iat: $iat, exp: ($iat + 120), jti: $jti}')
  printf 'Authorization: Bearer %s\n' "$(sign greffier-call+jwt "$claims")" > "$work/header"
  curl --silent --show-error --max-time 75 --header "@$work/header" --output "$work/answer" --write-out '%{http_code}' "$@"
}

bring() {
  while :; do
    status=$(call --header 'Content-Type: application/json' --data-binary "@$work/receipt" "$GREFFIER_COUNTER_URL/receipts")
    case $status in
      202) return ;;
      429 | 503) sleep 2 ;;
      *) say trouble "receipts: $status"; return 1 ;;
    esac
  done
}

# One order fetched, served and answered; fails when none came. What is not brought is fetched again when its lease has
# lapsed, and answered the same from the journal.
once() {
  status=$(call "$GREFFIER_COUNTER_URL/tasks?wait=$1")
  case $status in
    204) return 0 ;;
    200) ;;
    *) say trouble "tasks: $status"; return 1 ;;
  esac
  jq -j .order "$work/answer" > "$work/order"
  if open_order "$work/order" "$work/claims"; then serve; else say refused "$(cat "$work/why")"; fi
}

# Whoever was served and came back is served again. What was lifted stays so; what was corrected, and to what, the journal
# does not know.
replay() {
  jq_with -r 'include "office"; identifiers | ascii_downcase | sub("^\\s+"; "") | sub("\\s+$"; "")' "$store" | sort -u > "$work/known"
  while read -r email; do
    jq -cnR --arg mark "$(mark "$email")" '[inputs | fromjson?] as $lines
      | ([$lines[] | select(.line == "done") | {(.task): .entry.ask}] | add) as $asked
      | $lines[] | select(.line == "begun" and any((.marks // [])[]; . == $mark)
        and $asked[.task] != "lift" and .right != "rectification")' "$journal" > "$work/again"
    while read -r line; do
      right=$(printf %s "$line" | jq -r .right) today=$(date -u +%Y-%m-%d)
      printf %s "$line" | jq -c --arg email "$email" '{emails: [$email], received_at}' > "$work/person"
      change_store 'act($right; $person; $today)'
    done < "$work/again"
  done < "$work/known"
}

mend
case $how in
  --replay) replay ;;
  --newsletter) jq_with -r 'include "office"; recipients' "$store" ;;
  --once) once 0 ;;
  *) while :; do (once 50) & wait $! || sleep 2; done ;;
esac
