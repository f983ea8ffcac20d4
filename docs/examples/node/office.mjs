// An office whose people stand in one JSON file: the part to be written anew for a store of another kind.
//
//   GREFFIER_COUNTER_URL=https://rights.example.com GREFFIER_KEYS=keys GREFFIER_JOURNAL=journal.jsonl \
//     node office.mjs CODE store.json             works until SIGTERM
//     node office.mjs CODE store.json --once      one order, if one waits
//     node office.mjs CODE store.json --replay    after a restore, before anybody reads
//     node office.mjs CODE store.json --newsletter    to whom it goes: the office's own way to its contacts
//
// {"contacts": [{"id", "email", "name", "town"?, "newsletter", "objected"?, "restricted"?, "last_contact"?, "asked_at"?}],
//  "invoices": [{"id", "contact", "number", "issued_on"}]}
//
// | right         | what it means here |
// | ------------- | ------------------ |
// | erasure       | contacts and invoices go; an invoice stays ten years, and with it whom it was issued to |
// | objection     | `objected`: written to no more, until they accept again; whether they get the newsletter stays as it is |
// | withdrawal    | ends the newsletter: it is all that rests on consent |
// | rectification | of `name` and `town`, where what the person saw still stands |
// | restriction   | `restricted`: stored, shown to the person, and used by nobody until it is lifted |
// | portability   | what the person gave for the contract; not the invoices, which the law asks for |
// | disposal      | by the group's rule `relation`, counted from `last_contact`; what is restricted stays |
//
// What the person asked for after the request (`asked_at`) is a fresh act, and stays.

import fs from 'node:fs';

import { forget, isExact, replace } from './disk.mjs';
import { Journal, Office, StoreRefuses, Trust, once, say, workUntilToldToStop } from './greffier.mjs';
import { judged, lastDay, momentOf, normalForm } from './rules.mjs';

const GROUND = 'accounting, ten years';
const RULE = 'relation';
const FIELDS = {
  contacts: { email: 'e-mail address', name: 'name', town: 'town', newsletter: 'whether the newsletter is sent' },
  invoices: { number: 'number of the invoice', issued_on: 'day of issue' },
};
const GIVEN = { contacts: { email: 'e-mail address', name: 'name', town: 'town' } };
const CORRECTED = { last_name: 'name', 'postal_address.city': 'town' };
const MARKS = { objection: { objected: true }, withdrawal: { newsletter: false }, restriction: { restricted: true } };

class JsonStore {
  constructor(file) {
    this.file = file;
  }

  // The store as it stands, to be looked at and changed in memory; nothing of it lasts before `save`. Refused is one in
  // which records cannot be told apart: whoever is served there takes others along.
  open() {
    const text = fs.readFileSync(this.file, 'utf8');
    const all = JSON.parse(text);
    const areApart = (records) => new Set(records.map((one) => one?.id ?? NaN).concat(NaN)).size === records.length + 1;
    if (!isExact(text) || !areApart(all.contacts) || !areApart(all.invoices)) throw new StoreRefuses('schema-mismatch');
    return new Held(this, all);
  }

  write(all) {
    replace(this.file, JSON.stringify(all));
  }
}

function grouped(records, by) {
  const groups = new Map();
  for (const one of records) {
    if (groups.has(by(one))) groups.get(by(one)).push(one);
    else groups.set(by(one), [one]);
  }
  return groups;
}

class Held {
  rights = ['access', 'portability', 'erasure', 'rectification', ...Object.keys(MARKS)];

  constructor(store, all) {
    this.store = store;
    this.all = all;
    this.byEmail = grouped(all.contacts, (one) => normalForm(one.email));
    this.byContact = grouped(all.invoices, (one) => one.contact);
    this.gone = new Set();
    this.changed = false;
  }

  // Everything of the person.
  #find({ emails, receivedAt }) {
    const isFresh = (one) => momentOf(one.asked_at) > momentOf(receivedAt); // what nobody can read is as old as can be
    return this.#with(emails.flatMap((email) => this.byEmail.get(email) ?? []).filter((one) => !isFresh(one)));
  }

  // Contacts and what hangs on them; for each record, until which day it must be kept, if it must.
  #with(some) {
    const today = new Date().toISOString().slice(0, 10);
    const stands = (one) => !this.gone.has(one);
    const contacts = some.filter(stands);
    const invoices = contacts.flatMap((one) => this.byContact.get(one.id) ?? []).filter(stands);
    const until = new Map(); // of invoices by themselves, of contacts by their last invoice
    for (const invoice of invoices) {
      const last = lastDay(invoice.issued_on, 'P10Y') ?? '9999-12-31'; // no readable date: for somebody to look at
      if (last < today) continue;
      until.set(invoice, last);
      const contact = contacts.find((one) => one.id === invoice.contact);
      if (!(until.get(contact) > last)) until.set(contact, last);
    }
    return { contacts, invoices, until };
  }

  // What acting would do, in counts; it changes nothing.
  plan(right, person) {
    const found = this.#find(person);
    if (right === 'rectification') return corrections(found, person);
    if (right === 'erasure') return erased(found);
    return [{ name: 'contacts', matched: found.contacts.length, restricted: found.contacts.length }];
  }

  act(right, person) {
    const found = this.#find(person);
    const told = this.plan(right, person);
    if (found.contacts.length) this.changed = true;
    if (right === 'erasure') this.#erase(found);
    for (const contact of found.contacts) {
      if (right === 'rectification') Object.assign(contact, judged(person.patches, CORRECTED, contact).sets);
      else Object.assign(contact, MARKS[right]);
    }
    return told;
  }

  lift(person) {
    return this.#unmark('restricted', person);
  }

  // They accepted again what they had refused: the mark goes, and nothing else is set.
  accept(person) {
    return this.#unmark('objected', person);
  }

  #unmark(mark, person) {
    const { contacts } = this.#find(person);
    if (contacts.length) this.changed = true;
    for (const contact of contacts) contact[mark] = false;
    return [{ name: 'contacts', matched: contacts.length }];
  }

  // What stands now.
  look(right, person) {
    const found = this.#find(person);
    if (right === 'rectification') return corrections(found, person, true);
    if (right === 'portability') return [{ name: 'contacts', matched: found.contacts.length }];
    const mark = Object.entries(MARKS[right] ?? {});
    if (!mark.length) return ['contacts', 'invoices'].map((name) => ({ name, matched: found[name].length, ...kept(found, name) }));
    const restricted = found.contacts.filter((one) => mark.every(([field, value]) => one[field] === value)).length;
    return [{ name: 'contacts', matched: found.contacts.length, ...(restricted && { restricted }) }];
  }

  // Everything for whoever asks what is held; what they gave, for whoever takes it elsewhere.
  copy(right, person) {
    const found = this.#find(person);
    const shown = (one, fields) => Object.fromEntries(Object.keys(fields).map((field) => [field, one[field] ?? null]));
    const asked = Object.entries(right === 'portability' ? GIVEN : FIELDS);
    return asked.map(([name, fields]) => ({ name, fields, records: found[name].map((one) => shown(one, fields)) }));
  }

  // ---------------------------------------------------------------------- at the end of the group's periods

  planDisposal(terms) {
    const { over, left } = this.#over(terms);
    const [contacts, invoices] = erased(this.#with(over));
    return [{ ...contacts, ...together(contacts, left) }, invoices];
  }

  dispose(terms) {
    const told = this.planDisposal(terms);
    const { over } = this.#over(terms);
    if (over.length) this.changed = true;
    this.#erase(this.#with(over));
    return told;
  }

  #over({ on, periods }) {
    if (!periods.has(RULE)) throw new StoreRefuses('unknown-rule');
    const over = [];
    const left = []; // grounds
    for (const contact of this.all.contacts) {
      const last = lastDay(contact.last_contact, periods.get(RULE).active);
      if (last === undefined) left.push('no readable date');
      else if (last < on && contact.restricted) left.push('restriction');
      else if (last < on) over.push(contact);
    }
    return { over, left };
  }

  #erase(found) {
    for (const one of [...found.contacts, ...found.invoices]) if (!found.until.has(one)) this.gone.add(one);
  }

  // ---------------------------------------------------------------------- canaries, replay, the office's own use

  // A fictional person, unless it stands already; what stands of it.
  plant(email) {
    const person = { emails: [email], receivedAt: new Date().toISOString() };
    if (!this.#find(person).contacts.length) {
      const last_contact = person.receivedAt.slice(0, 10);
      const contact = { id: email, email, name: 'Canary', newsletter: false, last_contact };
      this.all.contacts.push(contact);
      this.byEmail.set(normalForm(email), [contact]);
      this.changed = true;
    }
    return this.look('access', person);
  }

  identifiers() {
    return this.all.contacts.map((one) => String(one.email));
  }

  // To whom the newsletter goes. Whatever reads contacts for the office's own use leaves out who is restricted, what
  // writes to them also who objected; none that is planted gets it.
  recipients() {
    return this.all.contacts.filter((one) => one.newsletter && !one.restricted && !one.objected).map((one) => one.email);
  }

  // Durable when it returns.
  save() {
    if (!this.changed) return;
    const { contacts, invoices } = this.all;
    const stands = (one) => !this.gone.has(one);
    this.store.write({ ...this.all, contacts: contacts.filter(stands), invoices: invoices.filter(stands) });
  }
}

function kept(found, name) {
  const days = found[name].map((one) => found.until.get(one)).filter(Boolean).sort();
  return days.length ? { retained: days.length, ground: GROUND, until: days.at(-1) } : {};
}

function erased(found) {
  return ['contacts', 'invoices'].map((name) => {
    const gone = found[name].filter((one) => !found.until.has(one)).length;
    return { name, matched: found[name].length, ...(gone && { erased: gone }), ...kept(found, name) };
  });
}

// Counted by what each contact holds, so that a repeat counts the same. `looks`: what is still to be set is not corrected.
function corrections({ contacts }, { patches }, looks = false) {
  const all = contacts.map((one) => judged(patches, CORRECTED, one));
  const conflicting = all.filter((one) => one.conflicts).length;
  const holds = (one) => one.concerned && !one.conflicts && !(looks && Object.keys(one.sets).length);
  const corrected = all.filter(holds).length;
  const matched = all.filter((one) => one.concerned).length;
  return [{ name: 'contacts', matched, ...(corrected && { corrected }), ...(conflicting && { conflicting }) }];
}

// What is kept on an invoice's ground, and what could not be disposed of on grounds of its own.
function together(contacts, left) {
  if (!left.length) return {};
  const grounds = [...new Set([...(contacts.retained ? [contacts.ground] : []), ...left])];
  const sum = { matched: contacts.matched + left.length, retained: (contacts.retained ?? 0) + left.length };
  return { ...sum, ground: grounds.join(', '), until: undefined }; // no last day is known of them all
}

const [code, file, how] = process.argv.slice(2);
const { GREFFIER_COUNTER_URL: counter, GREFFIER_KEYS: keys = 'keys', GREFFIER_JOURNAL: journal = 'journal.jsonl' } = process.env;
const store = new JsonStore(file);
try {
  if (how === '--newsletter') {
    for (const email of store.open().recipients()) console.log(email);
  } else {
    const trust = new Trust(keys, code);
    const office = new Office(trust, store, new Journal(journal, trust.journalKey));
    forget(file);
    if (how === '--replay') console.log(JSON.stringify(office.replay()));
    else if (how === '--once') await once(office, counter, 0);
    else await workUntilToldToStop(office, counter);
  }
} catch (error) {
  say(error);
  process.exitCode = 1;
}
