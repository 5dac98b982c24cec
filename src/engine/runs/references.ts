import pMap from "p-map";
import type { ConnectorSpaceObject } from "../core/model.ts";
import type { References } from "../core/references.ts";
import type { ObjectChange, SyncDecision } from "../core/synchronize.ts";
import type { StoredMetaverseObject } from "../stores/metaverse.ts";
import type { EngineParts } from "./engine.ts";

const readsInFlight = 64;

/**
 * Answers from what it has looked up. A question that is new is answered by "nowhere" and noted: once `load` has looked
 * it up, the decision is made again. A group of 50,000 members takes two rounds, not 50,000.
 */
export class ReferenceLookup implements References {
  readonly #parts: EngineParts;
  readonly #toMetaverse = new Map<string, string | null>();
  readonly #toConnector = new Map<string, string | null>();
  readonly #asked = { toMetaverse: new Map<string, Asked>(), toConnector: new Map<string, Asked>() };
  /** Whether the metaverse object lives, and what it is connected to. */
  readonly #metaverse = new Map<string, Promise<Connections | null>>();

  constructor(parts: EngineParts) {
    this.#parts = parts;
  }

  toMetaverse(connector: string, dnOrAnchor: string): string | null {
    return this.#answer("toMetaverse", this.#toMetaverse, { connector, to: dnOrAnchor });
  }

  toConnector(connector: string, metaverseId: string): string | null {
    return this.#answer("toConnector", this.#toConnector, { connector, to: metaverseId });
  }

  #answer(kind: "toMetaverse" | "toConnector", known: Map<string, string | null>, asked: Asked) {
    const key = `${asked.connector}/${asked.to}`;
    const found = known.get(key);
    if (found === undefined) this.#asked[kind].set(key, asked);
    return found ?? null;
  }

  /** Whether something new was asked. */
  get isAsked(): boolean {
    return this.#asked.toMetaverse.size > 0 || this.#asked.toConnector.size > 0;
  }

  /** Looks up what was asked. @returns false when there was nothing new */
  async load(): Promise<boolean> {
    if (!this.isAsked) return false;
    const { toMetaverse, toConnector } = this.#asked;
    const look = async (
      asked: Map<string, Asked>,
      known: Map<string, string | null>,
      find: (one: Asked) => Promise<string | null>,
    ) => {
      const all = [...asked];
      asked.clear();
      await pMap(all, async ([key, one]) => known.set(key, await find(one)), { concurrency: readsInFlight });
    };
    await look(toMetaverse, this.#toMetaverse, (one) => this.#findMetaverse(one));
    await look(toConnector, this.#toConnector, (one) => this.#findTarget(one));
    return true;
  }

  async #findMetaverse({ connector, to }: Asked): Promise<string | null> {
    const { connectorSpace } = this.#parts;
    const byAnchor = async () => [await connectorSpace.findByAnchor(connector, to)];
    const byDn = () => connectorSpace.findByDn(connector, to);
    const isDn = to.includes("=");
    for (const look of isDn ? [byDn, byAnchor] : [byAnchor, byDn]) {
      const linked = (await look()).flatMap((stored) => {
        const { metaverseId = null, linking = null, pendingImport = null } = stored?.object ?? {};
        return pendingImport?.change === "delete" ? [] : (metaverseId ?? linking ?? []);
      });
      // Two objects of one DN: one of them is about to be renamed or deleted, and the reference is asked again then.
      if (linked.length === 1) return (await this.#live(linked[0]!)) === null ? null : linked[0]!;
      if (linked.length > 1) return null;
    }
    return null;
  }

  async #findTarget({ connector, to }: Asked): Promise<string | null> {
    for (const { connector: name, id } of (await this.#live(to)) ?? []) {
      if (name !== connector) continue;
      const stored = await this.#parts.connectorSpace.get(connector, id);
      const dn = targetDn(stored?.object ?? null, to);
      if (dn !== null) return dn;
    }
    return null;
  }

  /** @returns the connections; null when there is no such object, or a tombstone */
  #live(id: string): Promise<Connections | null> {
    let found = this.#metaverse.get(id);
    if (found === undefined) {
      found = this.#parts.metaverse
        .get(id)
        .then((stored) => (stored === undefined || stored.object.deleted ? null : stored.object.connectors));
      this.#metaverse.set(id, found);
    }
    return found;
  }
}

type Connections = StoredMetaverseObject["object"]["connectors"];

interface Asked {
  readonly connector: string;
  readonly to: string;
}

/**
 * The DN by which others may refer to the object as that of the metaverse object; null: not at all. Only what an import
 * has shown is referred to, so what is added always goes before the references to it.
 */
function targetDn(object: ConnectorSpaceObject | null, metaverseId: string): string | null {
  if (object === null || (object.metaverseId ?? object.linking) !== metaverseId) return null;
  const goes = object.pendingExport?.change === "delete" || object.pendingImport?.change === "delete";
  return goes ? null : (object.synchronized?.dn ?? null);
}

/**
 * The metaverse objects whose references lead elsewhere once the decisions are committed: they are to be synchronised
 * again. Found before the commit, so that nobody is forgotten should it be interrupted.
 */
export async function referringTo(
  parts: EngineParts,
  decisions: readonly { readonly before: StoredMetaverseObject; readonly decision: SyncDecision }[],
  objects: (change: { readonly connector: string; readonly id: string }) => ConnectorSpaceObject | undefined,
): Promise<ReadonlySet<string>> {
  const sources = new Map<string, Set<string>>();
  const targets = new Set<string>();
  const askSource = (object: ConnectorSpaceObject | null | undefined) => {
    if (object == null || object.anchor === null) return;
    const { connector, anchor, dn } = object;
    sources.set(connector, (sources.get(connector) ?? new Set()).add(anchor).add(dn));
  };
  for (const { before, decision } of decisions) {
    const { id } = before.object;
    if (before.object.deleted !== (decision.metaverse?.deleted ?? true)) {
      targets.add(id);
      for (const connection of before.object.connectors) askSource(objects(connection));
    }
    for (const change of decision.objects) {
      if (isLinkedAnew(change)) {
        askSource(change.before);
        askSource(change.after);
      }
      if (targetDn(change.before, id) !== targetDn(change.after, id)) targets.add(id);
    }
  }
  const found = new Set<string>();
  for (const [connector, moved] of sources)
    for (const id of await parts.connectorSpace.referringMetaverseIds(connector, moved)) found.add(id);
  await pMap(
    targets,
    async (id) => {
      for (const one of await parts.metaverse.referring(id)) found.add(one);
    },
    { concurrency: readsInFlight },
  );
  return found;
}

function isLinkedAnew({ before, after }: ObjectChange): boolean {
  if (before?.metaverseId !== after?.metaverseId) return true;
  if (before?.linking != null && after?.metaverseId == null) return true;
  return before?.synchronized?.dn !== after?.synchronized?.dn;
}
