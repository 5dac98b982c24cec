/** A history is data: what administrators and guests do, when runs are started, and what may go wrong meanwhile. */
import { Chance } from "./random.ts";

export const edits = [
  "add",
  "rename",
  "block",
  "unblock",
  "softDelete",
  "purge",
  "restore",
  "newMail",
  "accountByHand",
  "accountMoved",
  "accountChanged",
] as const;

export type Event =
  | { readonly kind: "edit"; readonly edit: (typeof edits)[number]; readonly guest: number }
  | { readonly kind: "cycle"; readonly cycle: "initial" | "delta" }
  | { readonly kind: "profile"; readonly connector: string; readonly profile: string }
  | { readonly kind: "stop" }
  | { readonly kind: "timer" }
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
  /** A directory is unreachable or throttles. */
  "directory",
  /** The answer to a write is lost. */
  "lostAnswer",
] as const;
export type Trouble = (typeof troubles)[number];

export interface History {
  readonly seed: number;
  readonly guests: number;
  readonly workers: number;
  readonly detectsDuplicates: boolean;
  /** Objects in a page of an import. */
  readonly pageSize: number;
  /** Whether each message works on one page only, or until it is done. */
  readonly slices: "short" | "long";
  readonly troubles: readonly Trouble[];
  readonly events: readonly Event[];
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
  const events: Event[] = [{ kind: "cycle", cycle: "initial" }];
  for (let left = chance.integer(3, 14); left > 0; left--) events.push(eventBy(chance));
  return {
    seed,
    guests: chance.integer(1, guestsMax - 2),
    workers: chance.integer(1, 4),
    detectsDuplicates: chance.happens(0.5),
    pageSize: chance.integer(1, 5),
    slices: chance.happens(0.5) ? "short" : "long",
    troubles: troubles.filter(() => chance.happens(0.6)),
    events,
  };
}

function eventBy(chance: Chance): Event {
  const which = chance.next();
  if (which < 0.45) return { kind: "edit", edit: chance.one(edits), guest: chance.integer(0, guestsMax - 1) };
  if (which < 0.65) return { kind: "cycle", cycle: chance.happens(0.7) ? "delta" : "initial" };
  if (which < 0.75) {
    const connector = chance.one(["AADMA", "ADMA"]);
    const known = connector === "ADMA" ? profiles : profiles.slice(0, 4);
    return { kind: "profile", connector, profile: chance.one(known) };
  }
  if (which < 0.9) return { kind: "deliver", count: chance.integer(1, 25) };
  if (which < 0.93) return { kind: "stop" };
  if (which < 0.97) return { kind: "timer" };
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
  if (history.workers > 1) yield { ...history, workers: 1 };
  if (history.guests > 1) yield { ...history, guests: history.guests - 1 };
  if (history.slices === "short") yield { ...history, slices: "long" };
  if (!history.detectsDuplicates) yield { ...history, detectsDuplicates: true };
}
