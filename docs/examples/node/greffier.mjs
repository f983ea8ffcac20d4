// A subsidiary without Python: fetches signed orders over HTTP, has them served on a store, brings signed receipts.
// Node 20 or later, no packages. What a store of yours must do stands in office.mjs; nothing here needs a change.
//
// Whatever is not an order of the controller's to us, in time, has no effect and no answer (sealing.mjs).

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

import { Trouble, append, lock, syncFolder } from './disk.mjs';
import { MAX_TOKEN, NotAnOrder, ORDER_LIFETIME_S, callToken, canonical, openOrder, seal, sha256, sign } from './sealing.mjs';
import {
  COPIES, WISH, hearing, isAccepted, isOurs, isUnderstood, lastDay, lastSaid, lost, normalForm, outcomeOf, together,
} from './rules.mjs';

export { Trust } from './sealing.mjs';

const MAX_COPY = 64 * 1024 * 1024;
const INLINE = 1024 * 1024; // a larger access copy travels in parts
const PART = 768 * 1024;

export class StoreRefuses extends Error {} // message: the reason, lower-case words joined by hyphens

// ---------------------------------------------------------------------- the journal: what was done, without a name

// Beside the store, never in its backup: `begun` is on disk before the first record is touched, `done` before the
// receipt leaves. It holds keyed hashes, the same as those of the worker in Python. One process has it at a time.
export class Journal {
  constructor(file, key) {
    this.key = key;
    this.begun = new Map();
    this.done = new Map();
    this.heard = new Map(); // keyed hash → what was heard of a "no" and of wishes
    fs.mkdirSync(path.dirname(file), { recursive: true });
    lock(file);
    this.file = fs.openSync(file, 'a+', 0o600);
    syncFolder(file);
    let sound = 0;
    for (const line of fs.readFileSync(file, 'utf8').split(/(?<=\n)/)) {
      if (!line.endsWith('\n')) break; // torn by a crash; nothing was done after it
      this.#note(JSON.parse(line));
      sound += Buffer.byteLength(line);
    }
    fs.ftruncateSync(this.file, sound);
  }

  mark(email) {
    return crypto.createHmac('sha256', this.key).update(`greffier/journal/n1/email:${email}`).digest('hex');
  }

  // What was heard of an address by now. `coming`: lines that are about to be written.
  heardOf(email, coming = []) {
    const mark = this.mark(email);
    const theirs = coming.filter((line) => line.marks?.includes(mark));
    return theirs.reduce((heard, line) => hearing(heard, line), this.heard.get(mark) ?? {});
  }

  // Lines about what is to be begun, or answered; on disk when it returns.
  write(lines) {
    if (!lines.length) return;
    append(this.file, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    for (const line of lines) this.#note(line);
  }

  // Whether a restriction of an address stands that another task than this one asked for. `now`: lines not yet written.
  isRestrictedByAnother(task, email, now) {
    const mark = this.mark(email);
    const done = new Map([...this.done, ...now.done.map((line) => [line.task, line])]);
    return [...this.begun.values(), ...now.begun].some((line) => line.right === 'restriction' && line.task !== task
      && line.marks.includes(mark) && done.get(line.task)?.entry.ask !== 'lift');
  }

  #note(line) {
    if (line.line === 'done') this.done.set(line.task, line);
    if (line.line === 'done' || this.begun.has(line.task)) return;
    this.begun.set(line.task, line);
    for (const mark of line.marks ?? []) this.heard.set(mark, hearing(this.heard.get(mark), line));
  }
}

// ---------------------------------------------------------------------- serving

const distinct = (emails) => [...new Set(emails.map(normalForm))];

export class Office {
  constructor(trust, store, journal, clock = Date.now) {
    Object.assign(this, { trust, store, journal, clock });
  }

  // The sealed messages that answer an order, in the order in which they must leave. Raises NotAnOrder.
  serve(token) {
    const { jti, entries } = openOrder(token, this.trust, this.clock());
    const latest = new Map();
    for (const entry of entries) {
      if (!isOurs(entry, this.trust.code)) continue; // nobody's, or another's: not even a refusal can be told
      const key = `${entry.task} ${entry.ask}`;
      if (!latest.has(key) || latest.get(key).attempt < entry.attempt) latest.set(key, entry);
    }
    const answers = this.#serveAll([...latest.values()]);
    return answers.length ? this.#messages(jti, answers) : [];
  }

  // All of an order over one reading of the store, with one wait for the disk each: what was begun is written down, then
  // the store, then what was done. Killed anywhere, the next delivery completes and counts the whole.
  #serveAll(entries) {
    const work = { held: this.#open(), begun: [], done: [] };
    const answers = entries.map((entry) => this.#answer(entry, work));
    this.journal.write(work.begun);
    work.held.save?.();
    this.journal.write(work.done);
    return answers;
  }

  // What is held; or why none of it can be served, which every entry is answered with.
  #open() {
    try {
      return this.store.open();
    } catch (error) {
      if (!(error instanceof StoreRefuses)) throw error;
      return { refuses: error };
    }
  }

  // A right that the store does not name among its own, and what it has no call for, is refused by that name.
  #answer(entry, work) {
    try {
      if (!isUnderstood(entry)) throw new StoreRefuses('not-understood');
      if (work.held.refuses) throw work.held.refuses;
      if (entry.ask === 'dispose') return this.#dispose(entry, work);
      if (entry.ask === 'plant') return this.#plant(entry, work);
      const person = { emails: distinct(entry.person.emails), receivedAt: entry.received_at, patches: entry.patches };
      if (entry.right === WISH) return this.#wish(entry, person, work);
      if (!work.held.rights.includes(entry.right)) throw new StoreRefuses('not-supported');
      if (entry.ask === 'look') return { entry: this.#entry(entry, this.#look(entry, person, work)) };
      return COPIES.includes(entry.right) ? this.#copy(entry, person, work) : this.#change(entry, person, work);
    } catch (error) {
      if (!(error instanceof StoreRefuses)) throw error;
      return { entry: { ...this.#head(entry), outcome: 'refused', collections: [], reason: error.message } };
    }
  }

  #change(entry, person, work) {
    const { right } = entry;
    if (right === 'objection') return this.#object(entry, person, work);
    const lifts = entry.ask === 'lift';
    const plan = () => work.held.plan(right, person);
    const act = () => (lifts ? this.#lift(entry, person, work) : work.held.act(right, person));
    const summed = lifts ? (_, now) => now : together; // what was marked is marked no more
    return this.#settle(entry, work, this.#about(entry, person), plan, act, summed);
  }

  #about({ right, received_at }, { emails }) {
    return { right, received_at, marks: emails.map((email) => this.journal.mark(email)).sort() };
  }

  // A "no" marks nobody who accepted again since, as far as it was heard: then it is answered by what stands.
  #object(entry, person, work) {
    const { held } = work;
    const refusing = () => person.emails.filter((email) => !isAccepted(this.journal.heardOf(email, work.begun)));
    const act = () => {
      const emails = refusing();
      return emails.length ? held.act('objection', { ...person, emails }) : held.look('objection', person);
    };
    const summed = (earlier, now) => (refusing().length ? together(earlier, now) : now);
    return this.#settle(entry, work, this.#about(entry, person), () => held.plan('objection', person), act, summed);
  }

  // What somebody wishes of all that they refused and accepted. It is heard before a record is touched; what is done then
  // is what all that was ever heard comes to, so that every order of orders ends the same.
  #wish(entry, person, work) {
    if (!work.held.accept) throw new StoreRefuses('not-supported');
    const [email] = person.emails;
    const { refused_at, version } = entry;
    const about = { ...this.#about(entry, person), accepts: entry.accepts === 'yes', refused_at, version };
    const act = () => abide(work.held, email, this.journal.heardOf(email, work.begun));
    return this.#settle(entry, work, about, () => [], act, (_, now) => now);
  }

  // The mark of whom another task restricts too stays, for its sake: what this one asked for has ended all the same.
  #lift(entry, person, work) {
    const counts = work.held.plan(entry.right, person);
    work.held.lift(this.#free(entry, person, work));
    return counts.map(({ restricted, ...one }) => one);
  }

  #look(entry, person, work) {
    const counts = work.held.look(entry.right, person);
    if (entry.right !== 'restriction' || this.journal.done.get(entry.task)?.entry.ask !== 'lift') return counts;
    const ours = new Map(work.held.look(entry.right, this.#free(entry, person, work)).map((one) => [one.name, one]));
    return counts.map((one) => ({ ...one, restricted: ours.get(one.name)?.restricted ?? 0 }));
  }

  #free({ task }, person, work) {
    return { ...person, emails: person.emails.filter((email) => !this.journal.isRestrictedByAnother(task, email, work)) };
  }

  // Of what is over by the group's periods, and about nobody; never for a day to come.
  #dispose(entry, work) {
    if (!work.held.dispose) throw new StoreRefuses('not-supported');
    const today = this.#now().slice(0, 10);
    if (entry.on > lastDay(today, 'P1D')) throw new StoreRefuses('day-to-come');
    const terms = { on: entry.on < today ? entry.on : today, periods: new Map(entry.periods.map((one) => [one.rule, one])) };
    return this.#settle(entry, work, {}, () => work.held.planDisposal(terms), () => work.held.dispose(terms), together);
  }

  #plant(entry, work) {
    if (!work.held.plant) throw new StoreRefuses('not-supported');
    const { task, attempt } = entry;
    const done = this.journal.done.get(task); // whatever became of it since: nobody would ever erase another
    if (done) return { entry: { ...done.entry, attempt } };
    const answered = this.#entry(entry, work.held.plant(entry.address));
    work.done.push({ line: 'done', task, attempt, entry: answered });
    return { entry: answered };
  }

  // A task that was answered is not done again at the same attempt; a later attempt is the controller asking anew.
  // `about`: what the journal says of whom; `summed`: how what earlier attempts did and what this one did are one account.
  #settle(entry, work, about, plan, act, summed) {
    const { task, attempt } = entry;
    const done = this.journal.done.get(task);
    if (done && done.attempt >= attempt) return { entry: { ...done.entry, attempt } };
    const planned = plan();
    const begun = this.journal.begun.get(task);
    const earlier = done ? done.entry.collections : begun ? lost(begun.stood, planned) : [];
    if (!begun) work.begun.push({ line: 'begun', task, ...about, stood: planned, at: this.#now() });
    const answered = this.#entry(entry, summed(earlier, act()));
    work.done.push({ line: 'done', task, attempt, entry: answered });
    return { entry: answered };
  }

  #copy(entry, person, { held }) {
    const collections = held.copy(entry.right, person).filter((one) => one.records.length);
    const counts = collections.map(({ name, records }) => ({ name, matched: records.length }));
    const copy = canonical({ store: this.trust.code, collections });
    if (Buffer.byteLength(copy) > MAX_COPY) throw new StoreRefuses('copy-too-large');
    const answered = this.#entry(entry, counts);
    if (!counts.length) return { entry: answered };
    return { entry: { ...answered, copy_sha256: sha256(copy) }, copy };
  }

  #entry(entry, collections) {
    return { ...this.#head(entry), outcome: outcomeOf(collections), collections };
  }

  #head({ task, attempt, ask }) {
    return { task, attempt, ask, at: this.#now() };
  }

  #now() {
    return new Date(this.clock()).toISOString();
  }

  #messages(order, answers) {
    const large = answers.filter(({ copy }) => copy && Buffer.byteLength(copy) > INLINE);
    const messages = large.flatMap(({ entry, copy }) => parts(entry, Buffer.from(copy)));
    let batch = [];
    const send = () => { if (batch.length) messages.push(this.#receipt(order, batch)); batch = []; };
    for (const answer of answers) {
      const size = (one) => JSON.stringify(one.entry).length * 2 + (large.includes(one) ? 0 : Buffer.byteLength(one.copy ?? ''));
      if (batch.reduce((sum, one) => sum + size(one), size(answer)) > INLINE) send();
      batch.push(large.includes(answer) ? { entry: answer.entry } : answer);
    }
    send();
    return messages.map((message) => seal(message, this.trust));
  }

  #receipt(order, answers) {
    const iat = Math.floor(this.clock() / 1000);
    const claims = { iss: this.trust.code, aud: 'controller', iat, exp: iat + ORDER_LIFETIME_S, jti: crypto.randomUUID() };
    const entries = answers.map(({ entry }) => entry);
    const copies = Object.fromEntries(answers.filter(({ copy }) => copy).map(({ entry, copy }) => [entry.task, JSON.parse(copy)]));
    return JSON.stringify({ receipt: sign(this.trust, 'greffier-receipt+jwt', { ...claims, order, entries }), copies });
  }

  // After a restore of the store: whoever was served, and came back with it, is served again. What was corrected, and to
  // what, the journal does not know (`corrections`: of how many people); what was lifted stays so.
  replay() {
    const found = { people: 0, corrections: 0 };
    const held = this.store.open();
    const wasLifted = ({ task }) => this.journal.done.get(task)?.entry.ask === 'lift';
    const isSaid = ({ right }) => right === 'objection' || right === WISH; // what they all come to, is done once
    const told = [...this.journal.begun.values()].filter((line) => line.marks && !isSaid(line) && !wasLifted(line));
    for (const stored of held.identifiers()) {
      const email = normalForm(stored);
      const mark = this.journal.mark(email);
      const heard = this.journal.heardOf(email);
      if (lastSaid(heard)) abide(held, email, heard);
      found.people += lastSaid(heard) ? 1 : 0;
      for (const { right, received_at } of told.filter((one) => one.marks.includes(mark))) {
        if (right === 'rectification') found.corrections += 1;
        else held.act(right, { emails: [email], receivedAt: received_at });
        found.people += right !== 'rectification';
      }
    }
    held.save();
    return found;
  }
}

// Marked no more, or marked, by all that was heard of an address.
function abide(held, email, heard) {
  const person = { emails: [email], receivedAt: lastSaid(heard) };
  return isAccepted(heard) ? held.accept(person) : held.act('objection', person);
}

function parts({ task, copy_sha256 }, copy) {
  const of = Math.ceil(copy.length / PART);
  return Array.from({ length: of }, (_, place) => JSON.stringify({
    part: { task, copy_sha256, place: `${place}`, of: `${of}`, bytes: copy.subarray(place * PART, (place + 1) * PART).toString('base64') },
  }));
}

// ---------------------------------------------------------------------- the carrier

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What is printed of a fault: our own words, or its kind. What others say of it may quote what stands in a file.
export function say(error) {
  const trouble = error instanceof Trouble || error instanceof StoreRefuses ? error.message : error.cause?.code ?? error.code ?? error.name;
  console.error(JSON.stringify({ at: new Date().toISOString(), trouble }));
}

async function call(trust, url, method, body, signal) {
  const headers = { Authorization: `Bearer ${callToken(trust)}`, 'Content-Type': 'application/json' };
  return fetch(url, { method, headers, body: body && JSON.stringify(body), signal, redirect: 'error' });
}

async function orderIn(answer) {
  const chunks = [];
  let size = 0;
  for await (const chunk of answer.body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_TOKEN + 4096) throw new Trouble('tasks: too large');
  }
  try {
    return String(JSON.parse(Buffer.concat(chunks)).order);
  } catch {
    throw new Trouble('tasks: not JSON');
  }
}

// One order fetched, served and answered; false when none came. What is not brought is fetched again when its lease has
// lapsed, and answered the same from the journal.
export async function once(office, counter, wait, signal) {
  const asked = await call(office.trust, `${counter}/tasks?wait=${wait}`, 'GET', undefined, signal);
  if (asked.status === 204) return false;
  if (asked.status !== 200) throw new Trouble(`tasks: ${asked.status}`);
  const order = await orderIn(asked);
  let receipts = [];
  try {
    receipts = office.serve(order);
  } catch (error) {
    if (!(error instanceof NotAnOrder)) throw error;
    console.error(JSON.stringify({ at: new Date().toISOString(), refused: error.message, digest: sha256(order) }));
  }
  for (const receipt of receipts) await bring(office, counter, receipt, signal);
  return true;
}

async function bring(office, counter, receipt, signal) {
  while (!signal?.aborted) {
    const answer = await call(office.trust, `${counter}/receipts`, 'POST', { receipt });
    await answer.body?.cancel();
    if (answer.status === 202) return;
    if (answer.status !== 429 && answer.status !== 503) throw new Trouble(`receipts: ${answer.status}`);
    await pause(1000 * Math.min(60, Number(answer.headers.get('Retry-After')) || 1));
  }
}

export async function workUntilToldToStop(office, counter) {
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => stop.abort());
  while (!stop.signal.aborted) {
    try {
      await once(office, counter, 50, stop.signal);
    } catch (error) {
      if (stop.signal.aborted) break;
      say(error);
      await pause(2000);
    }
  }
}
