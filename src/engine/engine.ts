import {
  type Configuration,
  type ConfigurationFile,
  type ConnectorConfiguration,
  type Cycle,
  withSchemas,
} from "./core/configuration.ts";
import { compileRuleTexts } from "./core/readConfiguration.ts";
import type { Bus, StepMessage } from "./ports/bus.ts";
import { type Connector, ConnectorError, type ObjectTypeSchema } from "./ports/connector.ts";
import type { Tables } from "./ports/tables.ts";
import { silence, type Telemetry } from "./ports/telemetry.ts";
import { effectItem } from "./rulesDiff.ts";
import { RunReporter } from "./runReporter.ts";
import { type EngineParts, isoTime } from "./runs/engine.ts";
import { ExportStep } from "./runs/exportStep.ts";
import { ImportStep } from "./runs/importStep.ts";
import type { Clock } from "./runs/lease.ts";
import { RunProtocol, type StartRequest, type Timings } from "./runs/protocol.ts";
import { DiffSyncStep, EffectsStep, noLongerStored } from "./runs/rulesDiff.ts";
import { SyncStep } from "./runs/syncStep.ts";
import { AuditStore } from "./stores/audit.ts";
import { ConnectorSpaceStore } from "./stores/connectorSpace.ts";
import { ConnectorStateStore } from "./stores/connectorState.ts";
import { DiffStore } from "./stores/diffs.ts";
import { MetaverseStore } from "./stores/metaverse.ts";
import { PlanStore } from "./stores/plans.ts";
import { RulesStore } from "./stores/rules.ts";
import {
  type Approval,
  CheckpointStore,
  HistoryStore,
  type ObjectOrder,
  type Run,
  RunStore,
  type Trigger,
} from "./stores/runs.ts";
import { ScheduleStore } from "./stores/schedule.ts";
import { SeenStore } from "./stores/seen.ts";

export interface EngineOptions {
  readonly tables: Tables;
  readonly bus: Bus;
  /** Proves that the queues can be reached. */
  pingBus(): Promise<void>;
  readonly clock: Clock;
  random(): number;
  randomHex(digits: number): string;
  readonly configuration: Configuration;
  openConnector(definition: ConnectorConfiguration): Connector;
  stagingMode(): boolean;
  readonly timings: Timings;
  /** Nobody watches when left out. */
  readonly telemetry?: Telemetry;
  log(message: string): void;
}

/** There is no connector, profile or cycle of this name. */
export class UnknownName extends Error {
  readonly what: "connector" | "profile" | "cycle";
  readonly known: readonly string[];

  constructor(what: UnknownName["what"], name: string, known: readonly string[]) {
    super(`There is no ${what} ${JSON.stringify(name)}.`);
    this.name = "UnknownName";
    this.what = what;
    this.known = known;
  }
}

/** The connector is of a kind that cannot do what the profile asks. */
export class ProfileNotSupported extends Error {
  constructor(connector: string, profile: string) {
    super(`Connector ${connector} cannot do ${JSON.stringify(profile)}.`);
    this.name = "ProfileNotSupported";
  }
}

const schemaLifeMs = 10 * 60 * 1000;

/** Everything of one deployment: its stores, connectors and runs. The functions are a thin shell around it. */
export class Engine {
  readonly options: EngineOptions;
  readonly connectorSpace: ConnectorSpaceStore;
  readonly metaverse: MetaverseStore;
  readonly state: ConnectorStateStore;
  readonly runs: RunStore;
  readonly checkpoints: CheckpointStore;
  readonly history: HistoryStore;
  readonly plans: PlanStore;
  readonly schedule: ScheduleStore;
  readonly audit: AuditStore;
  readonly diffs: DiffStore;
  readonly protocol: RunProtocol;
  readonly parts: EngineParts;
  readonly #rules: RulesStore;
  readonly #telemetry: Telemetry;
  readonly #reporter: RunReporter;
  readonly #connectors = new Map<string, Connector>();
  readonly #schemas = new Map<
    string,
    { readonly readAt: number; readonly types: Promise<readonly ObjectTypeSchema[]> }
  >();
  readonly #versions = new Map<string, Promise<Configuration>>();
  readonly #tried = new Map<string, Promise<Configuration>>();

  constructor(options: EngineOptions) {
    const { tables, clock, configuration } = options;
    this.options = options;
    this.connectorSpace = new ConnectorSpaceStore(tables, reverseJoinAttributes(configuration));
    this.metaverse = new MetaverseStore(tables);
    this.state = new ConnectorStateStore(tables);
    this.runs = new RunStore(tables);
    this.checkpoints = new CheckpointStore(tables);
    this.history = new HistoryStore(tables);
    this.plans = new PlanStore(tables);
    this.schedule = new ScheduleStore(tables);
    this.audit = new AuditStore(tables);
    this.diffs = new DiffStore(tables);
    this.#rules = new RulesStore(tables);
    this.parts = {
      clock,
      random: options.random,
      connectorSpace: this.connectorSpace,
      metaverse: this.metaverse,
      state: this.state,
      seen: new SeenStore(tables),
      plans: this.plans,
      configuration: (version, connector) => this.configurationOf(version, connector),
      connector: async (name) => this.connector(name),
      stagingMode: options.stagingMode,
    };
    this.#telemetry = options.telemetry ?? silence;
    this.#reporter = new RunReporter({ ...this, telemetry: this.#telemetry, clock, log: options.log });
    const imports = new ImportStep(this.parts);
    const synchronisation = new SyncStep(this.parts);
    const diff = {
      parts: this.parts,
      diffs: this.diffs,
      partsOver: (over: Tables) => this.partsOver(over),
      activeVersion: () => this.configuration.rulesVersion,
      tried: (version: string) => this.#triedRules(version),
      toItem: effectItem,
    };
    this.protocol = new RunProtocol({
      tables,
      runs: this.runs,
      checkpoints: this.checkpoints,
      history: this.history,
      bus: options.bus,
      clock,
      randomHex: options.randomHex,
      timings: options.timings,
      handlers: {
        fullImport: imports,
        deltaImport: imports,
        fullSync: synchronisation,
        deltaSync: synchronisation,
        export: new ExportStep(this.parts),
        rulesDiff: new DiffSyncStep(diff),
        rulesEffects: new EffectsStep(diff),
      },
      startQueued: async (cycle) => {
        if ((await this.schedule.get()).suspended) return;
        await this.protocol.startOrQueue(await this.#cycleRequest(cycle, "timer"));
      },
      onEnded: (run) => this.#reporter.ended(run),
      log: options.log,
    });
  }

  get configuration(): Configuration {
    return this.options.configuration;
  }

  /** The same engine over other tables: those in which only an answer is worked out. */
  partsOver(tables: Tables): EngineParts {
    return {
      ...this.parts,
      connectorSpace: new ConnectorSpaceStore(tables, reverseJoinAttributes(this.configuration)),
      metaverse: new MetaverseStore(tables),
      state: new ConnectorStateStore(tables),
      seen: new SeenStore(tables),
      plans: new PlanStore(tables),
    };
  }

  /** The configuration with rules that are only tried out. @throws ConfigurationError, ConnectorError */
  async configurationWith(ruleTexts: readonly ConfigurationFile[]): Promise<Configuration> {
    const changed = compileRuleTexts(ruleTexts, this.configuration);
    return withSchemas(changed, await this.#schemasOf([...this.configuration.connectors.keys()]));
  }

  connector(name: string): Connector {
    let connector = this.#connectors.get(name);
    if (connector === undefined) {
      connector = this.options.openConnector(this.definition(name));
      this.#connectors.set(name, connector);
    }
    return connector;
  }

  /** @throws UnknownName */
  definition(name: string): ConnectorConfiguration {
    const { connectors } = this.configuration;
    const definition = connectors.get(name);
    if (definition === undefined) throw new UnknownName("connector", name, [...connectors.keys()]);
    return definition;
  }

  /** The configuration with the rules of a run, whatever has been deployed since it began. */
  async configurationOf(rulesVersion: string, connector?: string): Promise<Configuration> {
    let version = this.#versions.get(rulesVersion);
    if (version === undefined) {
      version = this.#compile(rulesVersion);
      version.catch(() => this.#versions.delete(rulesVersion)); // the caller gets the error, the next one tries again
      this.#versions.set(rulesVersion, version);
    }
    const names = connector === undefined ? [...this.configuration.connectors.keys()] : [connector];
    return withSchemas(await version, await this.#schemasOf(names));
  }

  /** Rules that a comparison tries out. @throws ConnectorError */
  async #triedRules(version: string): Promise<Configuration> {
    let tried = this.#tried.get(version);
    if (tried === undefined) {
      const texts = await this.diffs.rules(version);
      if (texts === null) throw noLongerStored(version);
      tried = this.configurationWith(texts);
      tried.catch(() => this.#tried.delete(version)); // the caller gets the error, the next one tries again
      this.#tried.clear(); // one comparison at a time
      this.#tried.set(version, tried);
    }
    return tried;
  }

  async #compile(rulesVersion: string): Promise<Configuration> {
    if (rulesVersion === this.configuration.rulesVersion) return this.configuration;
    const texts = await this.#rules.get(rulesVersion);
    if (texts === null) {
      throw new ConnectorError(
        "configuration",
        `The rule set ${rulesVersion} of this run is no longer stored. Start a new run.`,
      );
    }
    return compileRuleTexts(texts, this.configuration);
  }

  async #schemasOf(names: readonly string[]): Promise<Map<string, readonly ObjectTypeSchema[]>> {
    return new Map(await Promise.all(names.map(async (name) => [name, await this.schema(name)] as const)));
  }

  /** The schema of a connected directory, read anew every ten minutes. @throws ConnectorError, UnknownName */
  schema(name: string): Promise<readonly ObjectTypeSchema[]> {
    const now = this.options.clock.now();
    const known = this.#schemas.get(name);
    if (known !== undefined && now - known.readAt < schemaLifeMs) return known.types;
    const types = this.connector(name).schema();
    types.catch(() => this.#schemas.delete(name)); // the caller gets the error, the next one asks again
    this.#schemas.set(name, { readAt: now, types });
    return types;
  }

  // ---- starting runs -------------------------------------------------------------------------------------------

  /** @throws UnknownName, RunInTheWay */
  async startCycle(cycle: string, trigger: Trigger, startedBy?: string): Promise<Run> {
    return this.protocol.start(await this.#cycleRequest(cycle, trigger, startedBy));
  }

  /** @throws UnknownName, ProfileNotSupported, RunInTheWay */
  async startProfile(connector: string, profile: string, trigger: Trigger, startedBy?: string): Promise<Run> {
    const { runProfiles } = this.definition(connector);
    const found = runProfiles.find(({ name }) => name === profile);
    if (found === undefined)
      throw new UnknownName(
        "profile",
        profile,
        runProfiles.map(({ name }) => name),
      );
    this.#assertSupported(connector, found.name, found.type);
    return this.protocol.start({
      cycle: null,
      steps: [{ connector, profile: found.name, type: found.type }],
      trigger,
      ...(startedBy === undefined ? {} : { startedBy }),
      rulesVersion: await this.storeActiveRules(),
    });
  }

  /** The export of an approved plan, and of nothing else. @throws RunInTheWay */
  async startApproved(
    connector: string,
    profile: string,
    approval: Approval,
    trigger: Trigger,
  ): Promise<Run> {
    return this.protocol.start({
      cycle: null,
      steps: [{ connector, profile, type: "export" }],
      trigger,
      ...(approval.by === null ? {} : { startedBy: approval.by }),
      rulesVersion: await this.storeActiveRules(),
      approval,
    });
  }

  /** A synchronisation that carries out what a person wants done with one object. @throws RunInTheWay */
  async startOrder(
    connector: string,
    profile: string,
    order: ObjectOrder,
    trigger: Trigger,
    startedBy: string,
  ): Promise<Run> {
    return this.protocol.start({
      cycle: null,
      steps: [{ connector, profile, type: "deltaSync", order }],
      trigger,
      startedBy,
      rulesVersion: await this.storeActiveRules(),
    });
  }

  #assertSupported(connector: string, profile: string, type: Cycle["steps"][number]["type"]): void {
    const { capabilities } = this.connector(connector);
    if (
      (type === "export" && !capabilities.export) ||
      (type === "deltaImport" && !capabilities.deltaImport)
    ) {
      throw new ProfileNotSupported(connector, profile);
    }
  }

  async #cycleRequest(
    name: string,
    trigger: Trigger,
    startedBy?: string,
  ): Promise<StartRequest & { cycle: string }> {
    const { cycles } = this.configuration;
    const cycle = cycles.get(name);
    if (cycle === undefined) throw new UnknownName("cycle", name, [...cycles.keys()]);
    for (const { connector, profile, type } of cycle.steps) this.#assertSupported(connector, profile, type);
    return {
      cycle: name,
      steps: cycle.steps,
      trigger,
      ...(startedBy === undefined ? {} : { startedBy }),
      rulesVersion: await this.storeActiveRules(),
    };
  }

  /** Stores the rules before a run refers to them, so that every message of it works with that version. */
  async storeActiveRules(): Promise<string> {
    const { rulesVersion, ruleTexts } = this.configuration;
    await this.#rules.add(rulesVersion, ruleTexts, isoTime(this.options.clock.now()));
    return rulesVersion;
  }

  /** What the timer would start: initial while nothing was ever imported, delta from then on. */
  async nextCycle(): Promise<"initial" | "delta"> {
    const first = this.configuration.cycles.get("initial")?.steps[0];
    const begun = first === undefined || (await this.state.get(first.connector)).watermark !== null;
    return begun ? "delta" : "initial";
  }

  /** The cycle timer; starts nothing while suspended. */
  async onTimer(): Promise<string> {
    if ((await this.schedule.get()).suspended) return "suspended";
    const cycle = await this.nextCycle();
    const run = await this.protocol.startOrQueue(await this.#cycleRequest(cycle, "timer"));
    return run === null
      ? `cycle ${cycle} waits for the run in progress`
      : `cycle ${cycle} started: run ${run.id}`;
  }

  /** Works on one message; what it did is part of its run's operation in the telemetry. */
  async receive(message: StepMessage): Promise<string> {
    const { clock } = this.options;
    const startedAt = clock.now();
    const { runId: run, step, shard, seq, attempt } = message;
    const tell = (outcome: string, failed: boolean) =>
      this.#telemetry.span(
        "step message",
        run,
        { startedAt, endedAt: clock.now(), failed },
        {
          ...{ run, step: String(step), shard, seq: String(seq), attempt: String(attempt), outcome },
        },
      );
    try {
      const outcome = await this.protocol.receive(message);
      tell(outcome, false);
      return outcome;
    } catch (error) {
      tell((error as Error).name, true);
      throw error;
    }
  }

  /** The watchdog timer. @returns what was sent again */
  async watch(): Promise<readonly string[]> {
    await this.#reporter.cycleAge();
    return this.protocol.watch();
  }
}

/** The attributes by which outbound rules find unlinked objects that they would otherwise create a second time. */
function reverseJoinAttributes({ rules }: Configuration): Map<string, readonly string[]> {
  const names = new Map<string, Set<string>>();
  for (const { direction, connector, join } of rules.rules) {
    if (direction !== "outbound") continue;
    const known = names.get(connector) ?? new Set();
    for (const { connectorAttribute } of join.flat())
      if (connectorAttribute !== "dn") known.add(connectorAttribute);
    names.set(connector, known);
  }
  return new Map([...names].map(([connector, attributes]) => [connector, [...attributes]]));
}
