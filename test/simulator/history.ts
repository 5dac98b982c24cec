/** A history is data: what administrators and guests do, when runs are started, and what may go wrong meanwhile. */
import { Chance } from "./random.ts";
import { type Variation, variations } from "./ruleSets.ts";

export const edits = [
  // Of a guest.
  "add",
  "invite",
  "accept",
  "rename",
  "vip",
  "leave",
  "block",
  "unblock",
  "softDelete",
  "purge",
  "restore",
  "turnMember",
  "turnGuest",
  "newMail",
  "newManager",
  /** Far more text than a row of the tables takes, or none any more. */
  "newNotes",
  // Of an account.
  "accountByHand",
  "accountMoved",
  "accountChanged",
  "accountDeleted",
  "accountEnabled",
] as const;
export type Edit = (typeof edits)[number];

export type Event =
  | { readonly kind: "edit"; readonly edit: Edit; readonly guest: number }
  | { readonly kind: "rules"; readonly variations: readonly Variation[]; readonly broken: boolean }
  | { readonly kind: "cycle"; readonly cycle: "initial" | "delta" }
  | { readonly kind: "profile"; readonly connector: string; readonly profile: string }
  | { readonly kind: "stop" }
  | { readonly kind: "timer" }
  | { readonly kind: "staging"; readonly on: boolean }
  /** The source's listings leave a guest out from now on, or no longer. */
  | { readonly kind: "listing"; readonly guest: number }
  /** A directory forgets its watermarks. */
  | { readonly kind: "forget"; readonly directory: "guests" | "accounts" }
  | { readonly kind: "pass"; readonly hours: number }
  /** So many deliveries; the rest of what is under way goes on beside the next event. */
  | { readonly kind: "deliver"; readonly count: number };

export const troubles = [
  /** A process dies after some effect: a transaction, a message sent, a write to a directory. */
  "crash",
  /** A message comes again, now or later. */
  "duplicate",
  /** A message comes later than others that were sent after it. */
  "delay",
  /** A process stops in the middle of its work and goes on when others have taken over. */
  "freeze",
  /** The clock jumps, so that leases run out. */
  "jump",
  /** A request to the tables fails, before or after it was done. */
  "store",
  /** A transaction is refused as if a row had changed, though none has, or though it was done. */
  "conflict",
  /** A message cannot be sent, or is sent although the sender is told otherwise. */
  "queue",
  /** Pages of rows end anywhere, and some are empty. */
  "pages",
  /** The clocks of the processes differ, by less than leases allow for. */
  "skew",
  /** A directory is unreachable or throttles. */
  "directory",
  /** The answer to a write is lost. */
  "lostAnswer",
] as const;
export type Trouble = (typeof troubles)[number];

/** What a script or MIM has left in the directory for a guest. */
export const leftBehind = ["stamped", "byName", "byUpn"] as const;

export interface History {
  readonly seed: number;
  readonly guests: number;
  /** Accounts that are there before the first cycle, for the first guests. */
  readonly accounts: readonly (typeof leftBehind)[number][];
  readonly rules: readonly Variation[];
  /** Whether rules are activated by the rules connector; otherwise they come with a deployment. */
  readonly rulesConnector: boolean;
  readonly workers: number;
  /** Messages that are worked on at a time, over all workers, their requests in any order; one: one after another. */
  readonly concurrency: number;
  readonly detectsDuplicates: boolean;
  /** Objects in a page of an import. */
  readonly pageSize: number;
  /** Changes in a batch of an export. */
  readonly batchSize: number;
  /** Whether the source says how many objects it has. */
  readonly counts: boolean;
  /** Whether each message works on one page only, or until it is done. */
  readonly slices: "short" | "long";
  readonly troubles: readonly Trouble[];
  /** Metaverse objects that flow in one message, about: with a part of one, each shard has its own. */
  readonly objectsPerMessage: number;
  /** The effect after which a process dies, of all effects of the history; null: none beside those by chance. */
  readonly crashAt: number | null;
  /** Whether the runs that are open then are stopped, so that nobody repeats what the process was at. */
  readonly crashStops: boolean;
  readonly events: readonly Event[];
  /** What is run when nothing goes wrong any more, before all is looked at. */
  readonly calm: "initial" | "delta";
}

const profiles = [
  "Full Import (Stage Only)",
  "Full Synchronization",
  "Delta Import (Stage Only)",
  "Delta Synchronization",
  "Export",
] as const;
export const guestsMax = 8;

export function historyOf(seed: number): History {
  const chance = new Chance(seed);
  const rulesConnector = chance.happens(0.4);
  const events: Event[] = [{ kind: "cycle", cycle: "initial" }];
  for (let left = chance.integer(3, 14); left > 0; left--) events.push(eventBy(chance, rulesConnector));
  const guests = chance.integer(1, guestsMax - 2);
  // Whom a full listing leaves out no delta tells of.
  const leavesOut = events.some(({ kind }) => kind === "listing");
  return {
    seed,
    guests,
    accounts: chance.happens(0.4)
      ? Array.from({ length: chance.integer(1, guests) }, () => chance.one(leftBehind))
      : [],
    rules: chance.happens(0.7) ? variationsBy(chance) : [],
    rulesConnector,
    workers: chance.integer(1, 4),
    concurrency: chance.happens(0.5) ? 1 : chance.integer(2, 6),
    detectsDuplicates: chance.happens(0.5),
    pageSize: chance.integer(1, 5),
    batchSize: chance.integer(1, 4),
    counts: chance.happens(0.7),
    slices: chance.happens(0.5) ? "short" : "long",
    troubles: troubles.filter(() => chance.happens(0.6)),
    objectsPerMessage: chance.one([1 / 16, 1 / 16, 8, 1_000]),
    crashAt: null,
    crashStops: false,
    events,
    calm: chance.happens(0.5) || leavesOut ? "initial" : "delta",
  };
}

/**
 * A short history for the crash after each of its effects in turn: two cycles with edits between them, nothing else
 * going wrong, all that `historyOf` varies besides being varied.
 */
export function calmHistoryOf(seed: number): History {
  const chance = new Chance(seed ^ 0x2545f491);
  const between: Event[] = [];
  for (let left = chance.integer(2, 4); left > 0; left--)
    between.push({ kind: "edit", edit: chance.one(edits), guest: chance.integer(0, 3) });
  const events: Event[] = [
    { kind: "cycle", cycle: "initial" },
    { kind: "deliver", count: 200 },
    ...between,
    { kind: "cycle", cycle: "delta" },
    { kind: "deliver", count: 200 },
  ];
  const { guests, ...rest } = historyOf(seed);
  return {
    ...rest,
    guests: Math.min(guests, 3),
    accounts: rest.accounts.slice(0, Math.min(guests, 3)),
    troubles: [],
    events,
  };
}

function variationsBy(chance: Chance): Variation[] {
  return variations.filter(() => chance.happens(0.35));
}

function eventBy(chance: Chance, rulesConnector: boolean): Event {
  const which = chance.next();
  if (which < 0.43) return { kind: "edit", edit: chance.one(edits), guest: chance.integer(0, guestsMax - 1) };
  if (which < 0.61) return { kind: "cycle", cycle: chance.happens(0.7) ? "delta" : "initial" };
  if (which < 0.7) {
    const connector = chance.one(["AADMA", "ADMA"]);
    const known = connector === "ADMA" ? profiles : profiles.slice(0, 4);
    return { kind: "profile", connector, profile: chance.one(known) };
  }
  if (which < 0.82) return { kind: "deliver", count: chance.integer(1, 25) };
  if (which < 0.88) {
    const broken = rulesConnector && chance.happens(0.2);
    return { kind: "rules", variations: variationsBy(chance), broken };
  }
  if (which < 0.9) return { kind: "stop" };
  if (which < 0.93) return { kind: "timer" };
  if (which < 0.95) return { kind: "staging", on: chance.happens(0.5) };
  if (which < 0.97) return { kind: "listing", guest: chance.integer(0, guestsMax - 1) };
  if (which < 0.98) return { kind: "forget", directory: chance.one(["guests", "accounts"] as const) };
  return { kind: "pass", hours: chance.one([1, 24, 24 * 31]) };
}

/** Smaller histories that might fail as well, the greatest reductions first. */
export function* smaller(history: History): Generator<History> {
  const { events } = history;
  for (let size = events.length >> 1; size >= 1; size >>= 1) {
    for (let at = 0; at + size <= events.length; at += size)
      yield { ...history, events: [...events.slice(0, at), ...events.slice(at + size)] };
  }
  for (const trouble of history.troubles)
    yield { ...history, troubles: history.troubles.filter((one) => one !== trouble) };
  for (const variation of history.rules)
    yield { ...history, rules: history.rules.filter((one) => one !== variation) };
  if (history.rulesConnector && !events.some((event) => event.kind === "rules" && event.broken))
    yield { ...history, rulesConnector: false };
  if (history.accounts.length > 0) yield { ...history, accounts: history.accounts.slice(1) };
  if (history.concurrency > 1) yield { ...history, concurrency: 1 };
  if (history.workers > 1) yield { ...history, workers: 1 };
  if (history.guests > 1) yield { ...history, guests: history.guests - 1 };
  if (history.slices === "short") yield { ...history, slices: "long" };
  if (history.objectsPerMessage < 1_000) yield { ...history, objectsPerMessage: 1_000 };
  if (!history.detectsDuplicates) yield { ...history, detectsDuplicates: true };
}
