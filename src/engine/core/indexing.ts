/** What objects are indexed by, so that joins find them. */
import type { MetaverseSchema, SyncConfiguration } from "./configuration.ts";

/**
 * By connector that rules, or a provisioning extension, write to: the attributes by which an account that is there
 * already is found before one is made. Inbound rules' joins are read from the other side.
 */
export function joinAttributes({
  rules: { rules },
  metaverseExtension,
}: Pick<SyncConfiguration, "rules" | "metaverseExtension">): Map<string, readonly string[]> {
  const isTarget = (direction: string) =>
    direction === "outbound" || metaverseExtension?.entryPoints.provision !== undefined;
  const targets = new Set(
    rules.flatMap(({ connector, direction }) => (isTarget(direction) ? connector : [])),
  );
  return new Map(
    [...targets].map((target) => {
      const conditions = rules.flatMap(({ connector, join }) => (connector === target ? join.flat() : []));
      const names = new Set(conditions.map(({ connectorAttribute }) => connectorAttribute));
      names.delete("dn");
      return [target, [...names].sort()];
    }),
  );
}

/** Names by metaverse object type. */
export function indexedAttributes(metaverse: MetaverseSchema): Map<string, readonly string[]> {
  return new Map(
    [...metaverse].map(([type, { attributes }]) => [
      type,
      [...attributes.values()].filter(({ indexed }) => indexed).map(({ name }) => name),
    ]),
  );
}
