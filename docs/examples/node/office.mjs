// An office whose people stand in one JSON file: the part to be written anew for a store of another kind.
//
//   GREFFIER_COUNTER_URL=https://rights.example.com GREFFIER_KEYS=keys GREFFIER_JOURNAL=journal.jsonl \
//     node office.mjs CODE store.json             works until SIGTERM
//     node office.mjs CODE store.json --once      one order, if one waits
//     node office.mjs CODE store.json --replay    after a restore, before anybody reads
//
// {"contacts": [{"id", "email", "name", "newsletter", "asked_at"?}], "invoices": [{"id", "contact", "number", "issued_on"}]}
// An erasure deletes contacts and invoices; an invoice stays ten years, and with it whom it was issued to. An objection
// ends the newsletter. What the person asked for after the request (`asked_at`) is a fresh act, and stays.

import fs from 'node:fs';

import { Journal, Office, Trust, once, workUntilToldToStop } from './greffier.mjs';

const GROUND = 'accounting, ten years';
const FIELDS = {
  contacts: { email: 'e-mail address', name: 'name', newsletter: 'whether the newsletter is sent' },
  invoices: { number: 'number of the invoice', issued_on: 'day of issue' },
};

class JsonStore {
  constructor(file) {
    this.file = file;
  }

  // The store as it stands, to be looked at and changed in memory; nothing of it lasts before `save`.
  open() {
    return new Held(this, JSON.parse(fs.readFileSync(this.file, 'utf8')));
  }

  // Whole or not at all: written beside, on disk, moved over.
  write(all) {
    const beside = `${this.file}.new`;
    const file = fs.openSync(beside, 'w', 0o600);
    fs.writeFileSync(file, JSON.stringify(all));
    fs.fsyncSync(file);
    fs.closeSync(file);
    fs.renameSync(beside, this.file);
  }
}

const folded = (email) => String(email).trim().toLowerCase();

function grouped(records, by) {
  const groups = new Map();
  for (const one of records) {
    if (groups.has(by(one))) groups.get(by(one)).push(one);
    else groups.set(by(one), [one]);
  }
  return groups;
}

class Held {
  constructor(store, all) {
    this.store = store;
    this.all = all;
    this.byEmail = grouped(all.contacts, (one) => folded(one.email));
    this.byContact = grouped(all.invoices, (one) => one.contact);
    this.gone = new Set();
    this.changed = false;
  }

  // Everything of the person, and for each record until which day it must be kept, if it must.
  #find({ emails, receivedAt }) {
    const today = new Date().toISOString().slice(0, 10);
    const stands = (one) => !this.gone.has(one);
    const isFresh = (one) => one.asked_at && Date.parse(one.asked_at) > Date.parse(receivedAt);
    const contacts = emails.flatMap((email) => this.byEmail.get(email) ?? []).filter((one) => stands(one) && !isFresh(one));
    const invoices = contacts.flatMap((one) => this.byContact.get(one.id) ?? []).filter(stands);
    const until = new Map(); // of invoices by themselves, of contacts by their last invoice
    for (const invoice of invoices) {
      const last = lastDay(invoice.issued_on);
      if (last < today) continue;
      until.set(invoice, last);
      const contact = contacts.find((one) => one.id === invoice.contact);
      if (!(until.get(contact) > last)) until.set(contact, last);
    }
    return { contacts, invoices, until };
  }

  // What acting would do, in counts; it changes nothing.
  plan(right, person) {
    return tallies(right, this.#find(person));
  }

  act(right, person) {
    const found = this.#find(person);
    if (found.contacts.length) this.changed = true;
    if (right === 'objection') {
      for (const contact of found.contacts) contact.newsletter = false;
    } else {
      for (const one of [...found.contacts, ...found.invoices]) if (!found.until.has(one)) this.gone.add(one);
    }
    return tallies(right, found);
  }

  // What stands now.
  look(right, person) {
    const found = this.#find(person);
    if (right === 'objection') {
      const restricted = found.contacts.filter((one) => one.newsletter === false).length;
      return [{ name: 'contacts', matched: found.contacts.length, ...(restricted && { restricted }) }];
    }
    return ['contacts', 'invoices'].map((name) => ({ name, matched: found[name].length, ...kept(found, name) }));
  }

  copy(person) {
    const found = this.#find(person);
    const shown = (name) => found[name].map((one) => Object.fromEntries(Object.keys(FIELDS[name]).map((field) => [field, one[field] ?? null])));
    return ['contacts', 'invoices'].map((name) => ({ name, fields: FIELDS[name], records: shown(name) }));
  }

  identifiers() {
    return this.all.contacts.map((one) => String(one.email));
  }

  // Durable when it returns.
  save() {
    if (!this.changed) return;
    const { contacts, invoices } = this.all;
    const stands = (one) => !this.gone.has(one);
    this.store.write({ ...this.all, contacts: contacts.filter(stands), invoices: invoices.filter(stands) });
  }
}

function lastDay(issued) {
  const day = new Date(`${issued}T00:00:00Z`);
  if (Number.isNaN(day.getTime())) return '9999-12-31'; // no readable date: kept, for somebody to look at
  day.setUTCFullYear(day.getUTCFullYear() + 10);
  return day.toISOString().slice(0, 10);
}

function kept(found, name) {
  const days = found[name].map((one) => found.until.get(one)).filter(Boolean).sort();
  return days.length ? { retained: days.length, ground: GROUND, until: days.at(-1) } : {};
}

function tallies(right, found) {
  if (right === 'objection') {
    const matched = found.contacts.length;
    return [{ name: 'contacts', matched, ...(matched && { restricted: matched }) }];
  }
  return ['contacts', 'invoices'].map((name) => {
    const erased = found[name].filter((one) => !found.until.has(one)).length;
    return { name, matched: found[name].length, ...(erased && { erased }), ...kept(found, name) };
  });
}

const [code, file, how] = process.argv.slice(2);
const { GREFFIER_COUNTER_URL: counter, GREFFIER_KEYS: keys = 'keys', GREFFIER_JOURNAL: journal = 'journal.jsonl' } = process.env;
const trust = new Trust(keys, code);
const office = new Office(trust, new JsonStore(file), new Journal(journal, trust.journalKey));
if (how === '--replay') console.log(`${office.replay()} served again`);
else if (how === '--once') await once(office, counter, 0);
else await workUntilToldToStop(office, counter);
