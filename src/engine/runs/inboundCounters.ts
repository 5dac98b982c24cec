/**
 * What a full synchronisation counts of the objects of its connector: each of them once. An object's counter changes with
 * its row, in one transaction. But whoever repeats a batch, because a process died or a row had changed, meets objects
 * again that were written the first time: they have nothing left to flow, and would count once more as such. How many
 * objects were met is counted beside, with the cursor, which a repetition does not move twice; so what is too much is
 * known.
 */
import type { SyncDecision } from "../core/synchronize.ts";
import { addCounters, type Counters } from "../stores/fence.ts";

const met = "inbound/met";

/** Of objects that are met again when their batch is repeated; the others are gone, or no longer linked. */
const ofThoseThatStay = [
  "disconnectorProjectedFlow",
  "disconnectorProjectedNoFlow",
  "disconnectorJoinedFlow",
  "disconnectorJoinedNoFlow",
  "connectorFlow",
  "connectorNoFlow",
] as const;

const sum = (counters: Counters) =>
  ofThoseThatStay.reduce((all, counter) => all + (counters[counter] ?? 0), 0);

/** To be counted with the cursor that lies behind the batch. */
export function metIn(decisions: readonly { readonly decision: SyncDecision }[]): Counters {
  const objects = decisions.reduce((all, { decision }) => all + sum(decision.inbound as Counters), 0);
  return objects === 0 ? {} : { [met]: objects };
}

/** The counters of a step without those of objects that were met again. */
export function countedOnce(counted: Counters): Counters {
  const { [met]: objects, ...counters } = counted;
  if (objects === undefined) return counters;
  const again = Math.min(Math.max(0, sum(counters) - objects), counters.connectorNoFlow ?? 0);
  return again === 0 ? counters : addCounters(counters, { connectorNoFlow: -again });
}
