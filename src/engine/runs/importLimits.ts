/** What an import sees others do, counted with what it stages, and what that means for exports. */
import type { Configuration } from "../core/configuration.ts";
import { exceededImportLimit, limitedKinds, seenChange } from "../core/limits.ts";
import type { ConnectorSpaceObject } from "../core/model.ts";
import type { Counters } from "../stores/fence.ts";
import { type EngineParts, isoTime } from "./engine.ts";
import type { Slice } from "./stepHandler.ts";

/** Counters of the partition that are no statistics: they change with the rows, so that a replay counts nothing twice. */
const seenPrefix = "seen.";

export function seenCounter(before: ConnectorSpaceObject | null, after: ConnectorSpaceObject): Counters {
  const seen = seenChange(before, after);
  return seen === null ? {} : { [`${seenPrefix}${seen}`]: 1 };
}

export function withoutSeen(counters: Counters): Counters {
  return Object.fromEntries(Object.entries(counters).filter(([name]) => !name.startsWith(seenPrefix)));
}

/**
 * The import and the synchronisations go on, so that there is a plan to decide about; the exports of every connector
 * that outbound rules, or a provisioning extension, write to wait for somebody to approve theirs.
 * @param counted what the import has counted in its partitions
 * @returns what to tell about it; null when no limit was exceeded
 */
export async function holdBeyondLimits(
  parts: EngineParts,
  { run, step }: Pick<Slice, "run" | "step">,
  configuration: Configuration,
  counted: Counters,
): Promise<string | null> {
  const { connector } = step;
  const seen = Object.fromEntries(limitedKinds.map((kind) => [kind, counted[`${seenPrefix}${kind}`] ?? 0]));
  if (Object.values(seen).every((count) => count === 0)) return null;
  const totals = await parts.connectorSpace.totals(connector);
  const connected = Math.max(0, (totals.connectors ?? 0) - (totals["export.add"] ?? 0));
  const { limits } = configuration.connectors.get(connector)!;
  const exceeded = exceededImportLimit(connector, limits, seen, connected);
  if (exceeded === null) return null;
  const targets = await targetsOf(parts, configuration);
  const hold = { ...exceeded, since: isoTime(parts.clock.now()), runId: run.id };
  for (const target of targets)
    await parts.state.update(target, (state) => (state.hold === null ? { ...state, hold } : state));
  return `${exceeded.detail} The exports of ${targets.join(", ")} are held until somebody approves their plan.`;
}

/** The connectors that something can be exported to. */
async function targetsOf(
  parts: EngineParts,
  { rules, connectors, metaverseExtension }: Configuration,
): Promise<readonly string[]> {
  const targets =
    metaverseExtension?.entryPoints.provision !== undefined
      ? [...connectors.keys()]
      : rules.rules.flatMap((rule) => (rule.direction === "outbound" ? rule.connector : []));
  const exporting: string[] = [];
  for (const name of [...new Set(targets)].sort())
    if ((await parts.connector(name)).capabilities.export) exporting.push(name);
  return exporting;
}
