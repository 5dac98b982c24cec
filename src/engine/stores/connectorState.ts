import { type Operation, type Properties, StoreError, type Tables } from "../ports/tables.ts";
import { tableNames } from "./tableNames.ts";
import { longText, longTextOf } from "./texts.ts";

/** Why a connector's exports wait for somebody's decision. */
export interface ExportHold {
  /** How runs end meanwhile. */
  readonly status: string;
  readonly detail: string;
  /** ISO 8601. */
  readonly since: string;
  /** The run that found the reason. */
  readonly runId: string;
}

/** What is remembered of a connector between runs. */
export interface ConnectorState {
  /** For the next delta import; null: none yet, or no longer honoured. May hold tokens, so it is never shown. */
  readonly watermark: string | null;
  /** The connector's `scopeHash` that the watermark belongs to. */
  readonly scopeHash: string | null;
  /** ISO 8601; when the watermark was stored. */
  readonly watermarkAt: string | null;
  /** ISO 8601; the last import that was complete. */
  readonly fullImportAt: string | null;
  /**
   * ISO 8601; when its space was emptied by hand, until it has been imported and synchronised in full again. Meanwhile
   * that somebody is missing in it says nothing.
   */
  readonly emptiedAt: string | null;
  /** The rule set that the whole connector space was last synchronised with. */
  readonly synchronizedRules: string | null;
  /** Shards that may hold markers of pending imports or exports: a superset, so that an idle step reads one row. */
  readonly importShards: string;
  readonly exportShards: string;
  /** The run and step that marked shards last: it changes when markers are about to be written by somebody else. */
  readonly markedBy: string | null;
  /** The earliest due row (ISO 8601), or earlier. */
  readonly nextDue: string | null;
  /** The attributes that disconnectors are indexed by, and those of the metaverse, as names; null: not known. */
  readonly indexedBy: string | null;
  readonly hold: ExportHold | null;
  /** The run whose full import was refused last because it had shrunk too much, and how many objects it showed. */
  readonly shrunkRun: string | null;
  readonly shrunkTo: number | null;
  /** So many objects (± 1 percent) are believed to be all: somebody has accepted a shrunk import. */
  readonly acceptedPopulation: number | null;
}

export interface StoredState {
  readonly state: ConnectorState;
  /** Undefined when the row does not exist yet. */
  readonly etag: string | undefined;
}

const empty: ConnectorState = {
  watermark: null,
  scopeHash: null,
  watermarkAt: null,
  fullImportAt: null,
  emptiedAt: null,
  synchronizedRules: null,
  importShards: "",
  exportShards: "",
  markedBy: null,
  nextDue: null,
  indexedBy: null,
  hold: null,
  shrunkRun: null,
  shrunkTo: null,
  acceptedPopulation: null,
};

const partition = "state";

/** One row per connector: its watermark, and the dirty map. */
export class ConnectorStateStore {
  readonly #tables: Tables;

  constructor(tables: Tables) {
    this.#tables = tables;
  }

  async get(connector: string): Promise<ConnectorState> {
    return (await this.read(connector)).state;
  }

  async read(connector: string): Promise<StoredState> {
    const row = await this.#tables.get(tableNames.connectorState, partition, connector);
    if (row === undefined) return { state: empty, etag: undefined };
    const state: Record<string, unknown> = { ...empty };
    for (const name of Object.keys(empty))
      if (row.properties[name] !== undefined) state[name] = row.properties[name];
    state.watermark = longTextOf(row, "watermark") ?? null;
    if (typeof state.hold === "string") state.hold = JSON.parse(state.hold);
    return { state: state as unknown as ConnectorState, etag: row.etag };
  }

  /**
   * Changes the state by compare and swap; `change` sees the newest state and may be asked again.
   * @param known as it was read before, which saves reading it again while nobody has changed it
   */
  async update(
    connector: string,
    change: (state: ConnectorState) => ConnectorState,
    known?: StoredState,
  ): Promise<ConnectorState> {
    for (let given = known; ; given = undefined) {
      const stored = given ?? (await this.read(connector));
      const next = change(stored.state);
      if (next === stored.state || (await this.replace(connector, stored, next))) return next;
    }
  }

  /** @returns false when the state has changed since it was read: nothing was written. */
  async replace(connector: string, { etag }: StoredState, next: ConnectorState): Promise<boolean> {
    const { watermark, hold, ...rest } = next;
    const properties = {
      ...Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null)),
      ...(watermark === null ? {} : longText("watermark", watermark)),
      ...(hold === null ? {} : { hold: JSON.stringify(hold) }),
    } as Properties;
    const operation: Operation =
      etag === undefined
        ? { kind: "insert", row: connector, properties }
        : { kind: "replace", row: connector, properties, etag };
    try {
      await this.#tables.transact(tableNames.connectorState, partition, [operation]);
      return true;
    } catch (error) {
      if (error instanceof StoreError && error.kind === "conflict") return false;
      throw error;
    }
  }

  /**
   * Nothing is known of the directory any more, so that everything is to be imported; a hold of its exports stays.
   * @param at ISO 8601
   */
  reset(connector: string, at: string): Promise<ConnectorState> {
    return this.update(connector, ({ hold }) => ({ ...empty, hold, emptiedAt: at }));
  }

  /** To be called before markers are written. `by`: the run and step. */
  async markDirty(
    connector: string,
    kind: "importShards" | "exportShards",
    shards: Iterable<string>,
    by: string,
  ): Promise<void> {
    const wanted = [...new Set(shards)];
    await this.update(connector, (state) => {
      const missing = wanted.filter((shard) => !state[kind].includes(shard));
      return missing.length === 0 && state.markedBy === by
        ? state
        : { ...state, [kind]: [...state[kind], ...missing].sort().join(""), markedBy: by };
    });
  }
}
