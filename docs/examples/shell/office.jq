# An office whose people stand in one JSON file: the part to be written anew for a store of another kind.
#
# {"contacts": [{"id", "email", "name", "newsletter", "asked_at"?}], "invoices": [{"id", "contact", "number", "issued_on"}]}
# An erasure deletes contacts and invoices; an invoice stays ten years, and with it whom it was issued to. An objection
# ends the newsletter. What the person asked for after the request (`asked_at`, UTC, ending in Z) is a fresh act, and
# stays. Input of every filter: the whole store. `$person`: {emails (letters folded), received_at}.

def ground: "accounting, ten years";

def last_day:
  if type == "string" and test("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
  then ((.[0:4] | tonumber + 10 | tostring) + .[4:]) | sub("-02-29$"; "-02-28")
  else "9999-12-31" end;  # no readable date: kept, for somebody to look at

# Everything of the person; `until`: the last day of a record that must be kept.
def find($person; $today):
  . as $all
  | [$all.contacts[] | select((.email | tostring | ascii_downcase | sub("^\\s+"; "") | sub("\\s+$"; "")) as $email
      | any($person.emails[]; . == $email) and ((.asked_at // "") > $person.received_at | not))] as $contacts
  | [$all.invoices[] | select(.contact as $id | any($contacts[]; .id == $id))
      | . + (if (.issued_on | last_day) >= $today then {until: (.issued_on | last_day)} else {} end)] as $invoices
  | {contacts: [$contacts[] | . as $one
       | [$invoices[] | select(.contact == $one.id) | .until | values] as $days
       | . + (if $days | length > 0 then {until: ($days | max)} else {} end)],
     invoices: $invoices};

def kept: [.[] | .until | values] | if length > 0 then {retained: length, ground: ground, until: max} else {} end;

# What acting would do, in counts; it changes nothing.
def plan($right; $person; $today):
  find($person; $today)
  | if $right == "objection" then [.contacts | {name: "contacts", matched: length, restricted: length}]
    else to_entries | map({name: .key, matched: (.value | length),
      erased: ([.value[] | select(.until == null)] | length)} + (.value | kept)) end;

# The store as it is afterwards.
def act($right; $person; $today):
  find($person; $today) as $found
  | if $right == "objection"
    then .contacts |= map(if .id as $id | any($found.contacts[]; .id == $id) then .newsletter = false else . end)
    else reduce ("contacts", "invoices") as $name (.;
      [$found[$name][] | select(.until == null) | .id] as $gone
      | .[$name] |= map(select(.id as $id | any($gone[]; . == $id) | not))) end;

# What stands now.
def look($right; $person; $today):
  find($person; $today)
  | if $right == "objection"
    then [{name: "contacts", matched: (.contacts | length), restricted: ([.contacts[] | select(.newsletter == false)] | length)}]
    else to_entries | map({name: .key, matched: (.value | length)} + (.value | kept)) end;

def copy($person; $today):
  find($person; $today)
  | [{name: "contacts", fields: {email: "e-mail address", name: "name", newsletter: "whether the newsletter is sent"},
      records: [.contacts[] | {email, name, newsletter}]},
     {name: "invoices", fields: {number: "number of the invoice", issued_on: "day of issue"},
      records: [.invoices[] | {number, issued_on}]}]
  | map(select(.records | length > 0));

def identifiers: .contacts[].email | tostring;
