/** The dirty maps: which shards of a connector may have objects with something pending. */
import type { EngineParts } from "./engine.ts";

/**
 * Those of the shards that have markers. To take the others off the dirty map: read the state, make sure that the
 * step is still the current one, look, and replace the state as it was read. Whoever writes such markers afterwards
 * has changed the state before.
 */
export async function markedShards(
  parts: EngineParts,
  connector: string,
  kind: "import" | "export",
  among: string,
): Promise<string> {
  let marked = "";
  for (const shard of among) {
    const first = await parts.connectorSpace.marked(connector, shard, kind).next();
    if (first.done !== true) marked += shard;
  }
  return marked;
}

/** After a step has looked at all that was pending: only shards that still have markers stay on the dirty map. */
export async function keepMarked(
  parts: EngineParts,
  connector: string,
  kind: "import" | "export",
  isCurrent: () => Promise<boolean>,
): Promise<void> {
  const stored = await parts.state.read(connector);
  if (!(await isCurrent())) return;
  const name = `${kind}Shards` as const;
  const before = stored.state[name];
  const marked = await markedShards(parts, connector, kind, before);
  if (marked !== before) await parts.state.replace(connector, stored, { ...stored.state, [name]: marked });
}
