/**
 * What a synchronisation counts at the targets of the connector that it synchronises (MIM: the outbound counters, by
 * management agent). Each is counted with the target's row, in the partition of that row: a replay, which finds the row
 * as it should be, counts nothing twice and loses nothing.
 */
import { addCounters, type Counters } from "../stores/fence.ts";
import { countedOnce } from "./inboundCounters.ts";

const prefix = "outbound/";

/** The counters of one target as they stand in a partition or a checkpoint; connector names hold no slash. */
export function outboundCounters(connector: string, counters: Readonly<Record<string, number>>): Counters {
  return Object.fromEntries(
    Object.entries(counters).map(([name, count]) => [`${prefix}${connector}/${name}`, count]),
  );
}

/** What a step shows of all that it has counted. */
export interface StepStatistics {
  readonly statistics: Counters;
  /** By target connector; absent where nothing flowed out. */
  readonly outbound?: Readonly<Record<string, Counters>>;
}

/** Names that are the targets' own stand among the statistics too, summed up; the others would be taken for inbound. */
export function statisticsOf(counted: Counters): StepStatistics {
  const outbound: Record<string, Record<string, number>> = {};
  const all: Counters[] = [];
  for (const [name, count] of Object.entries(countedOnce(counted))) {
    if (!name.startsWith(prefix)) {
      all.push({ [name]: count });
      continue;
    }
    const [connector, counter] = name.slice(prefix.length).split("/") as [string, string];
    outbound[connector] = { ...outbound[connector], [counter]: count };
    if (counter.startsWith("provisioned") || counter === "flowFailure") all.push({ [counter]: count });
  }
  const statistics = addCounters(...all);
  return Object.keys(outbound).length === 0 ? { statistics } : { statistics, outbound };
}
