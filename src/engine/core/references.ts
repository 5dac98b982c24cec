/**
 * References (manager, sponsors, members) are links, held differently at each stop:
 *
 *   image of a connector space object    the DN, or the anchor, of another object of its connector
 *   metaverse object                     the id of the metaverse object that this other object is connected to
 *   wanted of a target                   the DN of that metaverse object's object in the target's connector
 *
 * One that leads nowhere (yet) counts as no value: nothing is contributed, nothing is wanted. Whenever an object gets
 * or loses its link, its DN or its metaverse object, those that refer to it are synchronised again, so the order in
 * which objects come does not matter.
 */

import type { SyncConfiguration } from "./configuration.ts";
import type { ConnectorSpaceObject, Image } from "./model.ts";
import { anyMetaverseObjectType, type CompiledRule } from "./rules.ts";
import {
  type AttributeValue,
  dnKey,
  isMultiValued,
  isReference,
  reference,
  type Value,
  valuesOf,
} from "./values.ts";

/** Where references lead; null: nowhere. */
export interface References {
  /** @returns the id of the metaverse object that the object with this DN or anchor is connected to */
  toMetaverse(connector: string, dnOrAnchor: string): string | null;
  /** @returns the DN of the metaverse object's object in the connector */
  toConnector(connector: string, metaverseId: string): string | null;
}

export const noReferences: References = { toMetaverse: () => null, toConnector: () => null };

/** The value with each of its references led on by `lead`; undefined when none of its values is left. */
export function ledOn(
  value: AttributeValue | undefined,
  lead: (to: string) => string | null,
): AttributeValue | undefined {
  if (value === undefined) return undefined;
  if (!isMultiValued(value)) return ledOne(value, lead);
  if (!value.some(isReference)) return value;
  const led = new Map<string, Value>();
  for (const one of value) {
    const to = ledOne(one, lead);
    // Two objects of a source may be the same person.
    if (to !== undefined) led.set(isReference(to) ? to.dn : `v${led.size}`, to);
  }
  return led.size === 0 ? undefined : [...led.values()];
}

function ledOne(value: Value, lead: (to: string) => string | null): Value | undefined {
  if (!isReference(value)) return value;
  const to = lead(value.dn);
  return to === null ? undefined : reference(to);
}

/** What all the values of a record refer to, each once. */
export function referredBy(values: Iterable<AttributeValue | undefined>): ReadonlySet<string> {
  const found = new Set<string>();
  for (const value of values) for (const one of valuesOf(value)) if (isReference(one)) found.add(one.dn);
  return found;
}

/** Whether any rule flows into a reference of the metaverse: where none does, nobody is looked for. */
export function flowsReferences({ metaverse, rules }: SyncConfiguration): boolean {
  const isReferenceOf = ({ metaverseObjectType: type }: CompiledRule, target: string) =>
    (type === anyMetaverseObjectType ? [...metaverse.values()] : [metaverse.get(type)]).some(
      (known) => known?.attributes.get(target)?.type === "reference",
    );
  return rules.rules.some(
    (rule) => rule.direction === "inbound" && rule.flows.some(({ target }) => isReferenceOf(rule, target)),
  );
}

/**
 * The object after the directory has renamed what it refers to, or (`to` null) removed it: a directory that holds
 * links shows no change of the objects that hold them.
 */
export function withLinkMoved(
  object: ConnectorSpaceObject,
  from: string,
  to: string | null,
): ConnectorSpaceObject {
  const key = dnKey(from);
  const moved = (image: Image | null): Image | null => {
    if (image === null) return null;
    const attributes: Record<string, AttributeValue> = {};
    for (const [name, value] of Object.entries(image.attributes)) {
      const led = ledOn(value, (dn) => (dnKey(dn) === key ? to : dn));
      if (led !== undefined) attributes[name] = led;
    }
    return { ...image, attributes };
  };
  const { synchronized, pendingImport } = object;
  if (to !== null || synchronized === null)
    return {
      ...object,
      synchronized: moved(synchronized),
      pendingImport: pendingImport && { ...pendingImport, image: moved(pendingImport.image) },
    };
  const last = pendingImport === null ? synchronized : pendingImport.image;
  if (last === null) return object;
  return { ...object, pendingImport: { change: pendingImport?.change ?? "update", image: moved(last) } };
}
