/**
 * What synchronising one object would do, with the reason of every decision.
 *
 * It is the synchronisation step itself that is asked, over tables that show the real ones and keep what is written
 * in memory; so a preview is what the step does, and nothing is ever written.
 */
import type { ConfigurationFile } from "./core/configuration.ts";
import type {
  ContributionExplanation,
  FlowExplanation,
  JsonValue,
  RuleExplanation,
  ScopeExplanation,
} from "./core/explain.ts";
import type { ConnectionDecision, JoinCandidates, JoinLookup } from "./core/inbound.ts";
import type { ConnectorSpaceObject, MetaverseObject, ObjectError, PendingExport } from "./core/model.ts";
import { synchronizationKey } from "./core/ruleVersions.ts";
import type { Cause, SyncDecision } from "./core/synchronize.ts";
import type { Engine } from "./engine.ts";
import { Explanation } from "./previewExplanation.ts";
import { type objectSummary, Queries } from "./queries.ts";
import { isoTime } from "./runs/engine.ts";
import { SyncJob } from "./runs/syncStep.ts";
import type { Stored } from "./stores/connectorSpaceRows.ts";
import { type Counters, FencedWriter } from "./stores/fence.ts";
import { MemoryTables } from "./stores/memory/memoryTables.ts";
import { OverlayTables } from "./stores/overlay/overlayTables.ts";
import type { RunError } from "./stores/runs.ts";

export interface PreviewRequest {
  readonly connector: string;
  /** The object's csId or anchor. */
  readonly anchor: string;
  readonly kind: "full" | "delta";
  /** Rules to try instead of the active ones. */
  readonly rules?: readonly ConfigurationFile[];
}

type Summary = ReturnType<typeof objectSummary>;

export interface Preview {
  readonly connector: string;
  readonly kind: "full" | "delta";
  /** ISO 8601. */
  readonly at: string;
  readonly rulesVersion: string;
  /** Everything in words, the most important first. */
  readonly summary: readonly string[];
  /** False: a delta synchronisation would not look at the object. */
  readonly considered: boolean;
  readonly before: Summary;
  /** Null: it goes from the connector space. */
  readonly after: Summary | null;
  readonly filter: ScopeExplanation | null;
  readonly rules: readonly RuleExplanation[];
  readonly connection: ConnectionExplanation;
  /** Null: it is connected to none. */
  readonly metaverse: MetaverseExplanation | null;
  readonly targets: readonly TargetExplanation[];
  readonly errors: readonly RunError[];
  readonly inbound: Counters;
  readonly outbound: Readonly<Record<string, Counters>>;
  /** Every decision in words, in the order in which it was made. */
  readonly decisions: readonly Cause[];
}

export interface ConnectionExplanation {
  readonly decision: ConnectionDecision["kind"] | "failed";
  readonly metaverseId: string | null;
  readonly rule: string | null;
  readonly message: string;
  readonly joins: readonly {
    readonly rule: string;
    /** From 1. */
    readonly group: number;
    readonly conditions: readonly {
      readonly connectorAttribute: string;
      readonly metaverseAttribute: string;
      readonly value: JsonValue | null;
      readonly caseSensitive: boolean;
    }[];
    /** Ids of metaverse objects. */
    readonly matches: readonly string[];
    readonly message: string;
  }[];
}

export interface MetaverseExplanation {
  readonly id: string;
  readonly objectType: string;
  readonly change: "add" | "update" | "delete" | "none";
  readonly attributes: readonly {
    readonly name: string;
    readonly before: JsonValue | null;
    readonly after: JsonValue | null;
    readonly contributions: readonly ContributionExplanation[];
  }[];
}

export type TargetDecision =
  | "provision"
  | "adopt"
  | "flow"
  | "rename"
  | "delete"
  | "disconnect"
  | "withdraw"
  | "leave"
  | "none";

export interface TargetExplanation {
  readonly connector: string;
  /** Null: there is no object of it. */
  readonly id: string | null;
  readonly anchor: string | null;
  readonly dn: string | null;
  readonly decision: TargetDecision;
  readonly message: string;
  readonly rules: readonly RuleExplanation[];
  /** What stands to be exported before and after, attribute by attribute; null: nothing. */
  readonly pendingExport: {
    readonly before: PendingExportExplanation | null;
    readonly after: PendingExportExplanation | null;
  };
}

export interface PendingExportExplanation {
  readonly change: PendingExport["change"];
  readonly newDn?: string;
  readonly reason: string;
  /** Without write-only attributes, which are passwords. */
  readonly attributes: readonly ({
    readonly name: string;
    readonly before: JsonValue | null;
    readonly after: JsonValue | null;
  } & FlowExplanation)[];
}

/** What the step has shown while it worked. */
export interface Seen {
  placed: {
    readonly lookups: readonly JoinLookup[];
    readonly candidates: JoinCandidates;
    readonly decision: ConnectionDecision | { readonly error: ObjectError };
  } | null;
  flowed: {
    readonly before: MetaverseObject;
    readonly objects: readonly ConnectorSpaceObject[];
    readonly decision: SyncDecision;
  } | null;
  readonly errors: RunError[];
}

export class Previews {
  readonly #engine: Engine;
  readonly #queries: Queries;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#queries = new Queries(engine);
  }

  /**
   * Null: there is no such object.
   * @throws UnknownName; ConfigurationError when the rules to try do not check; ConnectorError when a schema cannot be read
   */
  async preview(request: PreviewRequest): Promise<Preview | null> {
    const engine = this.#engine;
    const connector = engine.definition(request.connector).name;
    const stored = await this.#queries.findObject(connector, request.anchor);
    if (stored === null) return null;
    const configuration =
      request.rules === undefined
        ? await engine.activeConfiguration()
        : await engine.configurationWith(request.rules);
    const tables = new OverlayTables(engine.options.tables, {
      tables: new MemoryTables(),
      table: "preview",
      partition: "preview",
      prefix: "",
    });
    const parts = engine.partsOver(tables);
    const seen: Seen = { placed: null, flowed: null, errors: [] };
    const state = await engine.state.get(connector);
    // As the step has it: after a change of the rules a delta synchronisation is a full one.
    const full =
      request.kind === "full" || state.synchronizedRules !== synchronizationKey(configuration, connector);
    const considered = full || hasWork(stored, isoTime(engine.options.clock.now()));
    if (considered) {
      const claim = { runId: "preview", step: 0, shard: "main", epoch: 1, verify: async () => undefined };
      const job = new SyncJob(
        parts,
        {
          writer: new FencedWriter(tables, claim),
          save: async () => undefined,
          report: async (errors) => void seen.errors.push(...errors.map(({ error }) => error)),
          overBudget: () => false,
          shard: "main",
          cursor: null,
          run: { id: "preview", startedAt: "" },
          step: { connector, type: full ? "fullSync" : "deltaSync", number: 1 },
        },
        configuration,
        {
          placed: (_object, lookups, candidates, decision) => {
            seen.placed = { lookups, candidates, decision };
          },
          flowed: (before, objects, decision) => {
            seen.flowed = { before, objects, decision };
          },
        },
      );
      await job.synchronizeOne(stored.object.id, full);
    }
    return new Explanation(configuration, stored.object, seen, parts).explain({
      kind: request.kind,
      considered,
      at: isoTime(engine.options.clock.now()),
      original: (id) => engine.metaverse.get(id).then((found) => found?.object ?? null),
    });
  }
}

/** Whether a delta synchronisation takes the object up. */
function hasWork({ object, due }: Stored, now: string): boolean {
  return object.pendingImport !== null || (due !== null && due <= now);
}
