/** What a person decides about one object, over what the rules have decided; each can be undone by another. */
import { type ConnectorSpaceObject, type MetaverseObject, unclaimed } from "./model.ts";
import { withoutErrorOf } from "./objectErrors.ts";
import { disconnected } from "./outbound.ts";

/** Why it cannot be done, for the person who asked. */
export interface Refusal {
  readonly refused: string;
}

/**
 * A join by hand: the object with its intent, and the metaverse object that knows of it. The flowing phase makes the
 * link of it. An explicit connector is immune to scope; a disconnection by hand undoes it.
 */
export function joinedByHand(
  object: ConnectorSpaceObject,
  metaverse: MetaverseObject | undefined,
  others: readonly ConnectorSpaceObject[],
): { readonly object: ConnectorSpaceObject; readonly metaverse: MetaverseObject } | Refusal {
  if (metaverse === undefined || metaverse.deleted) return { refused: "The metaverse object is gone." };
  const linkedTo = object.metaverseId ?? object.linking;
  if (linkedTo !== null && linkedTo !== metaverse.id)
    return { refused: `${object.dn} is connected to ${linkedTo} already. Disconnect it first.` };
  if (object.anchor === null) return { refused: `${object.dn} has not been exported yet.` };
  const [other] = others.filter(({ id }) => id !== object.id);
  if (other !== undefined)
    return { refused: `${other.dn} of ${other.connector} is connected to it. Disconnect that first.` };
  const { connector, id } = object;
  return {
    object:
      object.metaverseId === metaverse.id
        ? { ...object, explicitConnector: true }
        : { ...unclaimed(object), linking: metaverse.id, explicitConnector: true },
    metaverse: {
      ...metaverse,
      connectors: [...metaverse.connectors.filter((one) => one.id !== id), { connector, id }],
    },
  };
}

/**
 * A disconnection by hand. As `explicit` no rule joins the object again, until it is joined by hand or made a normal
 * disconnector; as `normal` the rules decide anew. It never deletes: deprovisioning is for what the rules let go of
 * (SEMANTICS P3).
 */
export function disconnectedByHand(
  object: ConnectorSpaceObject,
  as: "explicit" | "normal",
): ConnectorSpaceObject {
  const linked = object.metaverseId !== null || object.linking !== null;
  if (!linked && object.disconnector === as) return object;
  return {
    ...disconnected(object, as),
    error: withoutErrorOf(object.error, "synchronization"),
  };
}

/** What failed before is tried as if for the first time: a refused change neither rests nor is quarantined. */
export function retried(object: ConnectorSpaceObject): ConnectorSpaceObject {
  if (object.error === null) return object;
  const { retry: _, refusal: __, ...error } = object.error;
  return { ...object, error: { ...error, retryCount: 0 } };
}
