/** Objects in memory, as they are once a full cycle has gone through: each with its metaverse object and its targets. */
import assert from "node:assert/strict";
import type { SyncConfiguration } from "../src/engine/core/configuration.ts";
import { importedId } from "../src/engine/core/identity.ts";
import { decideConnection } from "../src/engine/core/inbound.ts";
import { newMetaverseObject } from "../src/engine/core/metaverse.ts";
import {
  type ConnectorSpaceObject,
  type Image,
  type MetaverseObject,
  newConnectorSpaceObject,
} from "../src/engine/core/model.ts";
import { type SyncDecision, synchronize } from "../src/engine/core/synchronize.ts";
import { type AttributeValue, dateTimeFromMs } from "../src/engine/core/values.ts";

/** One metaverse object with all that is linked to it. */
export interface Family {
  readonly metaverse: MetaverseObject;
  readonly objects: readonly ConnectorSpaceObject[];
}

export const now = dateTimeFromMs(Date.UTC(2026, 0, 1));

export function flow(family: Family, syncing: string, configuration: SyncConfiguration): SyncDecision {
  return synchronize({ ...family, syncing, configuration, now, random: () => 0.5 });
}

/** A new object of a source, as its import stages it. */
export function imported(connector: string, anchor: string, image: Image): ConnectorSpaceObject {
  return newConnectorSpaceObject({
    id: importedId(connector, anchor),
    connector,
    objectType: image.objectType,
    anchor,
    dn: image.dn,
    pendingImport: { change: "add", image },
  });
}

/** Scope, projection, flows and provisioning of a new object; null where the rules do not want it. */
export function place(object: ConnectorSpaceObject, configuration: SyncConfiguration): SyncDecision | null {
  const decision = decideConnection(object, configuration, new Map());
  if (decision.kind !== "projection") return null;
  const metaverse = newMetaverseObject(decision.metaverseId, decision.metaverseObjectType);
  const objects = [{ ...object, linking: decision.metaverseId }];
  return flow({ metaverse, objects }, object.connector, configuration);
}

/**
 * The family of a new object after exports and their confirmation, with nothing left to do; null where the rules do
 * not want the object, or a flow of theirs fails for it.
 * @param set what the target directory adds of its own to a new object
 */
export function settled(
  object: ConnectorSpaceObject,
  configuration: SyncConfiguration,
  set: (target: ConnectorSpaceObject) => Record<string, AttributeValue>,
): Family | null {
  let decision = place(object, configuration);
  if (decision === null || decision.errors.length > 0) return null;
  let family: Family = { metaverse: decision.metaverse!, objects: changed([], decision) };
  for (let cycle = 0; cycle < 3; cycle++) {
    family = { ...family, objects: family.objects.map((one) => confirmed(one, set)) };
    for (const connector of new Set(family.objects.map((one) => one.connector))) {
      decision = flow(family, connector, configuration);
      if (decision.errors.length > 0) return null;
      family = { metaverse: decision.metaverse!, objects: changed(family.objects, decision) };
    }
  }
  decision = flow(family, object.connector, configuration);
  assert.deepEqual([decision.metaverseChanged, decision.objects], [false, []], "It does not settle.");
  return family;
}

function changed(
  before: readonly ConnectorSpaceObject[],
  { objects }: SyncDecision,
): readonly ConnectorSpaceObject[] {
  const after = new Map(before.map((object) => [object.id, object]));
  for (const { id, after: object } of objects) {
    if (object === null) after.delete(id);
    else after.set(id, object);
  }
  return [...after.values()];
}

/** The object after its export and the import that confirms it. */
function confirmed(
  object: ConnectorSpaceObject,
  set: (target: ConnectorSpaceObject) => Record<string, AttributeValue>,
): ConnectorSpaceObject {
  const { pendingExport, synchronized } = object;
  if (pendingExport === null) return object;
  const isNew = pendingExport.change === "add";
  const attributes: Record<string, AttributeValue> = isNew ? set(object) : { ...synchronized!.attributes };
  for (const { name, after } of pendingExport.attributes) {
    if (after === undefined) delete attributes[name];
    else attributes[name] = after;
  }
  const image = { objectType: object.objectType, dn: pendingExport.newDn ?? object.dn, attributes };
  return {
    ...object,
    anchor: object.anchor ?? `anchor of ${object.id}`,
    pendingExport: null,
    pendingImport: { change: isNew ? "add" : "update", image },
  };
}
