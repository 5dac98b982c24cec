/** Whether an account that nobody owns really belongs to nobody. */
import type { Configuration } from "../core/configuration.ts";
import { shards } from "../core/identity.ts";
import { synchronizationKey } from "../core/ruleVersions.ts";
import { chunked } from "../stores/texts.ts";
import type { EngineParts } from "./engine.ts";

const loadAtOnce = 200;

/**
 * Whether everybody is in the metaverse who could own an account of the connector: it and every connector that brings
 * people has been imported in full and synchronised with the rules of now, nobody of them still waits to come in, and
 * there is anybody at all. An empty answer proves nothing.
 */
export async function isEverybodyKnown(
  parts: EngineParts,
  connector: string,
  configuration: Configuration,
): Promise<boolean> {
  if ((await parts.state.get(connector)).fullImportAt === null) return false;
  const sources = peopleFrom(configuration).filter((name) => name !== connector);
  const known = await Promise.all(sources.map((source) => isTakenIn(parts, source, configuration)));
  if (sources.length === 0 || known.includes(false)) return false;
  const totals = await Promise.all(sources.map((source) => parts.connectorSpace.totals(source)));
  return totals.some(({ connectors = 0 }) => connectors > 0);
}

/** The connectors whose objects become metaverse objects. */
export function peopleFrom({ rules, connectors }: Configuration): readonly string[] {
  const byRules = rules.rules
    .filter(({ direction, linkType }) => direction === "inbound" && linkType === "provision")
    .map(({ connector }) => connector);
  const byExtension = [...connectors.values()]
    .filter(({ extension }) => extension?.entryPoints.shouldProjectToMV !== undefined)
    .map(({ name }) => name);
  return [...new Set([...byRules, ...byExtension])];
}

async function isTakenIn(parts: EngineParts, source: string, configuration: Configuration): Promise<boolean> {
  const { fullImportAt, synchronizedRules, importShards } = await parts.state.get(source);
  if (fullImportAt === null || synchronizedRules !== synchronizationKey(configuration, source)) return false;
  for (const shard of shards.filter((one) => importShards.includes(one))) {
    const ids: string[] = [];
    for await (const { id } of parts.connectorSpace.marked(source, shard, "import")) ids.push(id);
    for (const chunk of chunked(ids, () => 1, loadAtOnce)) {
      const waiting = await parts.connectorSpace.getMany(source, chunk);
      // One that fails and is in the metaverse already owns what it owns.
      for (const { object } of waiting.values())
        if (object.metaverseId === null || object.error === null) return false;
    }
  }
  return true;
}
