import { joinKey, joinLookups, meets } from "../core/inbound.ts";
import { type ConnectorSpaceObject, importedImage, type MetaverseObject } from "../core/model.ts";
import type { ReverseJoinLookup } from "../core/outbound.ts";
import type { OutboundJoin, Provisioned } from "../core/synchronize.ts";
import { comparisonKey, dnKey, valuesOf } from "../core/values.ts";
import type { Stored } from "../stores/connectorSpaceRows.ts";
import type { SyncContext } from "./syncContext.ts";

/**
 * Looks for unlinked objects that a provisioning would create a second time; asks only where there are any. Explicit
 * disconnectors count: what a person has let go of is not made once more.
 */
export class Adoption {
  readonly #context: SyncContext;
  /** By connector: whether anything is linked to nothing there. */
  readonly #unlinked = new Map<string, boolean>();

  constructor(context: SyncContext) {
    this.#context = context;
  }

  /** The object that is meant. @param metaverse whose account is looked for, as it will be */
  async find(wanted: Provisioned | OutboundJoin, metaverse: MetaverseObject): Promise<Stored | null> {
    const { connectorSpace } = this.#context.parts;
    const { connector, lookups } = wanted;
    const provisioned = "id" in wanted ? wanted : null;
    let any = this.#unlinked.get(connector);
    if (any === undefined) {
      const {
        disconnectors = 0,
        filteredDisconnectors = 0,
        explicitDisconnectors = 0,
      } = await connectorSpace.totals(connector);
      any = disconnectors + filteredDisconnectors + explicitDisconnectors > 0;
      this.#unlinked.set(connector, any);
    }
    if (!any) return null;
    const free = ({ object }: Stored) =>
      object.metaverseId === null &&
      object.linking === null &&
      (provisioned !== null || object.objectType === wanted.objectType);
    if (provisioned !== null) {
      const same = await connectorSpace.get(connector, provisioned.id);
      if (same !== undefined && free(same)) return same;
    }
    for (const lookup of lookups) {
      const [first, ...others] = lookup.conditions;
      if (first === undefined) continue;
      const { connectorAttribute, value } = first;
      const found = (
        connectorAttribute === "dn"
          ? await connectorSpace.findByDn(connector, String(value))
          : await connectorSpace.findUnlinked(connector, connectorAttribute, value)
      ).filter((one) => free(one) && [first, ...others].every((condition) => holds(one.object, condition)));
      if (found.length === 1 && (await this.#isMeant(found[0]!, lookup, metaverse))) return found[0]!;
    }
    if (provisioned === null) return null;
    // The reverse join by DN (SEMANTICS R12).
    const byDn = (await connectorSpace.findByDn(connector, provisioned.dn)).filter(free);
    return byDn.length === 1 ? byDn[0]! : null;
  }

  /** Whether the object that a lookup has found is meant by this person alone. */
  async #isMeant(
    { object }: Stored,
    { inbound, conditions }: ReverseJoinLookup,
    metaverse: MetaverseObject,
  ): Promise<boolean> {
    if (inbound === true) return this.#wouldJoin(object, metaverse);
    const [{ metaverseAttribute, value } = {}] = conditions;
    if (metaverseAttribute === undefined || value === undefined) return true;
    const rivals = await this.#context.parts.metaverse.findByIndex(metaverseAttribute, value);
    return !rivals.some(
      ({ object: rival }) =>
        rival.id !== metaverse.id &&
        meets(rival, {
          metaverseObjectType: metaverse.objectType,
          conditions: conditions.flatMap(({ metaverseAttribute: name, ...condition }) =>
            name === undefined ? [] : { ...condition, metaverseAttribute: name },
          ),
        }),
    );
  }

  /** Whether the inbound rules would join the object to this person; what a person has disconnected counts, too. */
  async #wouldJoin(object: ConnectorSpaceObject, metaverse: MetaverseObject): Promise<boolean> {
    const unlinked: ConnectorSpaceObject = { ...object, linking: null, disconnector: "normal" };
    const candidatesOf = await this.#context.lookUp([unlinked]);
    const known = new Map(
      [...candidatesOf.values()].flat().map(({ object: found }) => [found.id, found] as const),
    );
    known.set(metaverse.id, metaverse); // as it will be
    const candidates = new Map(
      joinLookups(unlinked, this.#context.configuration).map((lookup) => {
        const found = [...known.values()].filter((one) => meets(one, lookup));
        return [joinKey(lookup), found.map(({ id }) => id)];
      }),
    );
    const decision = this.#context.decideConnection(unlinked, candidates, (id) => known.get(id));
    return "kind" in decision && decision.kind === "join" && decision.metaverseId === metaverse.id;
  }
}

function holds(
  object: ConnectorSpaceObject,
  { connectorAttribute, value, caseSensitive }: Provisioned["lookups"][number]["conditions"][number],
): boolean {
  const image = importedImage(object);
  if (connectorAttribute === "dn") return dnKey(object.dn) === dnKey(String(value));
  const syntax = caseSensitive ? "exact" : "caseIgnore";
  const key = comparisonKey(value, syntax);
  return valuesOf(image?.attributes[connectorAttribute]).some((own) => comparisonKey(own, syntax) === key);
}
