// Pure rules: whose an address is, what an order's entry must be, what a correction means for a value, what is left of
// what somebody refused and accepted, when a period is over, how the counts of several attempts make one account. The
// same as the worker's in Python.

import { domainToASCII } from 'node:url';

export const COPIES = ['access', 'portability'];
export const WISH = 'wish'; // in the place of a right
const CHANGES = ['erasure', 'objection', 'withdrawal', 'rectification', 'restriction'];
const CORRECTABLE = [
  'last_name', 'first_name', 'phone', 'position', 'country', 'language',
  ...['street', 'postal_code', 'city', 'country'].map((part) => `postal_address.${part}`),
];
const MOMENT = /^\d{4}-\d{2}-\d{2}T[0-9:.]{12}Z$/;
const CANARY = /^canary\.[0-9a-z]{8,32}@example\.org$/;
const PERIOD = /^P(?=\d)(?:(\d{1,5})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,5})D)?$/;

// ---------------------------------------------------------------------- what is asked

// To others, and to what has no such head, not even a refusal can be told.
export const isOurs = (entry, code) => isText(entry?.task) && /^[A-Za-z0-9-]{1,64}\/[a-z]{2,16}$/.test(entry.task)
  && entry.task.endsWith(`/${code}`) && Number.isInteger(entry.attempt) && entry.attempt >= 1
  && ['serve', 'look', 'lift', 'dispose', 'plant'].includes(entry.ask);

// What says more than this version knows is not understood: it may be meant to be served otherwise.
export function isUnderstood({ task, attempt, ask, right, ...said }) {
  if (ask === 'plant') return hasOnly(said, 'address') && CANARY.test(said.address); // no other, whoever signs
  if (ask === 'dispose') return hasOnly(said, 'on', 'periods') && isDay(said.on) && isListOf(said.periods, isTerm);
  if (ask === 'lift' && right !== 'restriction') return false;
  if (![...COPIES, ...CHANGES, WISH].includes(right) || !isPerson(said.person) || !MOMENT.test(said.received_at)) return false;
  if (right === WISH) return ask === 'serve' && isWish(said);
  if (right !== 'rectification') return hasOnly(said, 'person', 'received_at');
  return hasOnly(said, 'person', 'received_at', 'patches') && isListOf(said.patches, isPatch);
}

const isText = (value) => typeof value === 'string';
const isListOf = (value, is) => Array.isArray(value) && value.length > 0 && value.every(is);
const hasOnly = (said, ...names) => Object.keys(said).every((name) => names.includes(name));
const isPerson = (one) => isListOf(one?.emails, isText) && hasOnly(one, 'emails');
const isDay = (value) => isText(value) && /^\d{4}-\d{2}-\d{2}$/.test(value) && value >= '1900'
  && new Date(`${value}T00:00:00Z`).toJSON()?.startsWith(value) === true;
const isWish = (one) => hasOnly(one, 'person', 'received_at', 'accepts', 'refused_at', 'version')
  && one.person.emails.length === 1 && ['yes', 'no'].includes(one.accepts) && MOMENT.test(one.refused_at)
  && Number.isSafeInteger(one.version);
const isTerm = (one) => isText(one?.rule) && PERIOD.test(one.active) && (one.archive === undefined || PERIOD.test(one.archive));
const isPatch = (one) => CORRECTABLE.includes(one?.field) && isText(one.to) && (one.was === undefined || isText(one.was));

// ---------------------------------------------------------------------- corrections

const plain = (value) => String(value ?? '').normalize('NFC').trim();
const loosely = (text) => plain(text).toUpperCase().toLowerCase().split(/\s+/).join(' '); // letter case and spaces apart

// What a correction means for what stands: right already, to be set, nothing wrong here, or in conflict. What the person
// saw (`was`) is the version they correct; whatever else stands is left as it is, and a person decides.
function verdict({ was, to }, stored) {
  const stands = plain(stored);
  if (stands === plain(to)) return 'holds';
  if (!stands) return was === undefined ? 'applies' : 'absent';
  return was !== undefined && loosely(stands) === loosely(was) ? 'applies' : 'conflicts';
}

// A whole record under its patches; `columns`: the group's field → the field here. One in conflict is left whole.
export function judged(patches, columns, record) {
  const ours = patches.filter((patch) => columns[patch.field]);
  const found = ours.map((patch) => [patch, verdict(patch, record[columns[patch.field]])]);
  const conflicts = found.some(([, one]) => one === 'conflicts');
  const sets = conflicts ? [] : found.filter(([, one]) => one === 'applies').map(([patch]) => [columns[patch.field], patch.to]);
  return { concerned: found.some(([, one]) => one !== 'absent'), conflicts, sets: Object.fromEntries(sets) };
}

// ---------------------------------------------------------------------- addresses and moments

// An address as orders and journal have it, however it is written: letters in one form and one case, the domain in ASCII.
export function normalForm(email) {
  const text = String(email).normalize('NFC').trim().toLowerCase();
  const domain = text.slice(text.lastIndexOf('@') + 1);
  return /^[\x20-\x7e]*$/.test(domain) ? text : text.slice(0, -domain.length) + domainToASCII(domain);
}

// A moment in ISO 8601, in UTC where it names no zone; NaN for what nobody can read.
export function momentOf(stored) {
  if (!isText(stored) || !isDay(stored.slice(0, 10)) || !/^.{10}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/.test(stored)) return NaN;
  const text = stored.replace(' ', 'T');
  return Date.parse(/T.*(Z|[+-]\d{2}:\d{2})$/.test(text) || !text.includes('T') ? text : `${text}Z`);
}

// ---------------------------------------------------------------------- refused, and accepted again

// What was heard of one address, in whatever order: the latest "no" by itself, and the wish that knows most. Two wishes of
// the same moment differ by their version; at a tie "no" wins. `line`: of the journal.
export function hearing(heard = {}, line) {
  const { right, received_at } = line;
  if (right === 'objection') return { ...heard, refused: heard.refused > received_at ? heard.refused : received_at };
  return right === WISH && countsOver(line, heard.wish) ? { ...heard, wish: line } : heard;
}

function countsOver(one, other) {
  if (!other || one.received_at !== other.received_at) return !other || one.received_at > other.received_at;
  return one.version === other.version ? !one.accepts : one.version > other.version;
}

// Whether the latest wish accepts, and knew of every "no" that was heard.
export const isAccepted = ({ refused, wish }) => wish?.accepts === true && !(refused > wish.refused_at);

// When they last said anything; undefined where nothing was heard.
export const lastSaid = ({ refused, wish }) => [refused, wish?.received_at].filter(Boolean).sort().at(-1);

// ---------------------------------------------------------------------- periods

// The last day of a civil period that runs from a day, a month's end where a month is too short; undefined where the day
// cannot be read.
export function lastDay(first, period) {
  if (!isDay(first)) return undefined;
  const day = new Date(`${first}T00:00:00Z`);
  const [years, months, weeks, days] = PERIOD.exec(period).slice(1).map((number) => Number(number ?? 0));
  const wanted = day.getUTCDate();
  day.setUTCMonth(day.getUTCMonth() + 12 * years + months + 1, 0); // the last of that month
  day.setUTCDate(Math.min(wanted, day.getUTCDate()) + 7 * weeks + days);
  return day.getUTCFullYear() <= 9999 ? day.toISOString().slice(0, 10) : '9999-12-31';
}

// ---------------------------------------------------------------------- counts

export function outcomeOf(collections) {
  if (!collections.some((one) => one.matched)) return 'nothing-held';
  if (collections.some((one) => one.conflicting)) return 'conflict';
  return collections.some((one) => one.retained) ? 'partly-retained' : 'done';
}

// What an attempt did that was begun and never counted: what stood when it began, less what stands now. What is marked or
// corrected is counted by what stands, at every attempt.
export function lost(stood, standing) {
  const now = new Map(standing.map((one) => [one.name, one]));
  return stood.map(({ restricted, corrected, conflicting, ...then }) => {
    const erased = Math.max(0, (then.erased ?? 0) - (now.get(then.name)?.erased ?? 0));
    return { ...then, erased, matched: erased + (then.retained ?? 0) };
  });
}

// One account of several attempts at one task; what was kept stands once, whoever counted it.
export function together(earlier, now) {
  const before = new Map(earlier.map((one) => [one.name, one]));
  return now.map((one) => sumOf(before.get(one.name) ?? { matched: 0 }, one));
}

function sumOf(then, now) {
  const kept = (now.retained ?? 0) >= (then.retained ?? 0) ? now : then;
  const { corrected, conflicting } = now.matched ? now : then;
  const erased = (then.erased ?? 0) + (now.erased ?? 0);
  const restricted = Math.max(then.restricted ?? 0, now.restricted ?? 0);
  const other = (tally) => tally.matched - (tally.erased ?? 0) - (tally.retained ?? 0);
  const matched = erased + (kept.retained ?? 0) + Math.max(other(then), other(now));
  const sum = { name: now.name, matched };
  for (const [name, count] of Object.entries({ erased, restricted, corrected, conflicting })) if (count) sum[name] = count;
  if (kept.retained) Object.assign(sum, { retained: kept.retained, ground: kept.ground });
  if (kept.retained && kept.until) sum.until = kept.until;
  return sum;
}
