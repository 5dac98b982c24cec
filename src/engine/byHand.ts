/** What a person does by hand, each with who and why in the audit. */
import type { Engine } from "./engine.ts";
import { Queries } from "./queries.ts";
import { isoTime } from "./runs/engine.ts";
import type { Stored } from "./stores/connectorSpaceRows.ts";
import { FencedWriter } from "./stores/fence.ts";
import type { ObjectOrder, Run, Trigger } from "./stores/runs.ts";

/** There is no such object, or run. */
export class NotThere extends Error {
  override readonly name = "NotThere";
}

/** The state of things does not allow it; `code` is the API's. */
export class NotPossible extends Error {
  override readonly name = "NotPossible";
  readonly code: "already-connected" | "import-not-acceptable" | "run-has-ended";

  constructor(code: NotPossible["code"], message: string) {
    super(message);
    this.code = code;
  }
}

export interface Caller {
  /** As the platform's authentication names them; the way in where it names nobody. */
  readonly who: string;
  readonly trigger: Trigger;
  /** In their own words; null when none were given. */
  readonly why: string | null;
}

/** What can be asked for one object; `join` names the metaverse object. */
export type Wanted =
  | { readonly kind: "join"; readonly metaverseId: string }
  | { readonly kind: "disconnect"; readonly as: "explicit" | "normal" }
  | { readonly kind: "synchronize" | "retry" };

/** The names of the steps in the run history. */
const profiles = {
  join: "Join by Hand",
  disconnect: "Disconnect by Hand",
  synchronize: "Synchronize Object",
  retry: "Retry Object",
} as const;

export class ByHand {
  readonly #engine: Engine;
  readonly #queries: Queries;

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#queries = new Queries(engine);
  }

  /**
   * Begins the run that does it; like every synchronisation it excludes other runs.
   * @param key the object's id or its anchor
   * @throws NotThere, NotPossible, UnknownName, RunInTheWay
   */
  async order(connector: string, key: string, wanted: Wanted, caller: Caller): Promise<Run> {
    const stored = await this.#queries.findObject(this.#engine.definition(connector).name, key);
    if (stored === null) {
      throw new NotThere(`Connector ${connector} has no object ${key}; give its id or its anchor.`);
    }
    if (wanted.kind === "join") await this.#assertJoinable(stored, wanted.metaverseId);
    const { object } = stored;
    const order: ObjectOrder = { ...wanted, object: object.id };
    const { who, trigger, why } = caller;
    const run = await this.#engine.startOrder(connector, profiles[wanted.kind], order, trigger, who);
    const metaverseId = wanted.kind === "join" ? wanted.metaverseId : object.metaverseId;
    await this.#engine.audit.add({
      at: run.startedAt,
      who,
      what: wanted.kind,
      about: {
        connector,
        object: object.id,
        ...(metaverseId !== null && { metaverseId }),
        runId: run.id,
      },
      why,
      details: {
        dn: object.dn,
        before: object.metaverseId === null ? `${object.disconnector} disconnector` : "connector",
        ...(wanted.kind === "disconnect" && { as: wanted.as }),
      },
    });
    return run;
  }

  /**
   * Empties one connector space, as after a change of its directory that no import can make out. Nothing is written to
   * the directory: the next full import and synchronisation find its objects again and join them, and until then nothing
   * is synchronised that would take its people for gone.
   * @throws UnknownName; RunInTheWay: no run may work meanwhile, nor begin
   */
  async emptySpace(connector: string, { who, why }: Caller): Promise<{ connector: string; removed: number }> {
    const { runs, state, audit, connectorSpace, options } = this.#engine;
    const { name } = this.#engine.definition(connector);
    const by = `empty-${options.randomHex(12)}`;
    const { leaseMs, takeoverMs } = options.timings;
    const paused = `The connector space of ${name} is being emptied.`;
    const now = () => isoTime(options.clock.now());
    const pause = () => ({ by, why: paused, until: options.clock.now() + leaseMs + takeoverMs });
    const prolong = () => runs.prolong(pause());
    await runs.pause(pause(), options.clock.now());
    try {
      const { objects: removed = 0 } = await connectorSpace.totals(name);
      await audit.add({
        at: now(),
        who,
        what: "emptySpace",
        about: { connector: name },
        why,
        details: { objects: removed },
      });
      // First, so that a call that is broken off leaves a connector that has to be imported in full.
      await state.reset(name, now());
      const claim = { runId: by, step: 0, shard: "all", epoch: 1, verify: prolong };
      await connectorSpace.empty(name, new FencedWriter(options.tables, claim), prolong);
      return { connector: name, removed };
    } finally {
      // And last: whoever froze until a run had begun may have removed what that run has only looked at.
      await state.reset(name, now());
      await runs.resume(by);
    }
  }

  /** Asks a run to stop at its next checkpoint. @throws NotThere, NotPossible */
  async stop(runId: string, { who, why }: Caller): Promise<Run> {
    const { protocol, audit, options } = this.#engine;
    const run = await protocol.requestStop(runId);
    if (run === undefined) throw new NotThere(`There is no run ${runId}.`);
    if (run.endedAt !== null) throw new NotPossible("run-has-ended", `The run has ended: ${run.status}.`);
    await audit.add({
      at: isoTime(options.clock.now()),
      who,
      what: "stopRun",
      about: { runId },
      why,
      details: { cycle: run.cycle },
    });
    return run;
  }

  /** The step decides again when it gets there; this tells at once what is plain already. */
  async #assertJoinable({ object }: Stored, metaverseId: string): Promise<void> {
    const person = await this.#engine.metaverse.get(metaverseId);
    if (person === undefined || person.object.deleted)
      throw new NotThere(`The metaverse has no object ${metaverseId}.`);
    if (object.metaverseId !== null && object.metaverseId !== metaverseId) {
      throw new NotPossible(
        "already-connected",
        `${object.dn} is connected to ${object.metaverseId}. Disconnect it first.`,
      );
    }
  }

  /**
   * The next full import that shows as many objects (± 1 percent) as the refused one is taken as complete.
   * @throws NotThere, NotPossible
   */
  async acceptImport(runId: string, { who, why }: Caller): Promise<Run> {
    const { runs, state, audit, options } = this.#engine;
    const stored = await runs.get(runId);
    if (stored === undefined) throw new NotThere(`There is no run ${runId}.`);
    const { run } = stored;
    const refused = run.steps.find(({ status }) => status === "completed-discovery-errors");
    const shrunk = refused === undefined ? null : await state.get(refused.connector);
    if (refused === undefined || shrunk === null || shrunk.shrunkRun !== runId || shrunk.shrunkTo === null) {
      throw new NotPossible(
        "import-not-acceptable",
        refused === undefined
          ? `Run ${runId} refused no import.`
          : `Only the last import of ${refused.connector} that was refused because it had shrunk can be accepted. ` +
              "An import that ended early, or shows less than the source counts, is to be repeated.",
      );
    }
    const { connector } = refused;
    const objects = shrunk.shrunkTo;
    await audit.add({
      at: isoTime(options.clock.now()),
      who,
      what: "acceptImport",
      about: { connector, runId },
      why,
      details: { objects },
    });
    await state.update(connector, (now) =>
      now.shrunkRun === runId ? { ...now, acceptedPopulation: now.shrunkTo } : now,
    );
    return run;
  }
}
