import { RulesConnector } from "./connectors/rules/rulesConnector.ts";
import {
  type Configuration,
  ConfigurationError,
  type ConfigurationFile,
  type ConnectorConfiguration,
  type Cycle,
  withSchemas,
} from "./core/configuration.ts";
import { joinAttributes } from "./core/indexing.ts";
import { compileRuleTexts } from "./core/readRules.ts";
import { rulesConnectorKind } from "./core/ruleDocuments.ts";
import { synchronizationKey } from "./core/ruleVersions.ts";
import type { Bus, StepMessage } from "./ports/bus.ts";
import { type Connector, ConnectorError, type ObjectTypeSchema } from "./ports/connector.ts";
import type { Tables } from "./ports/tables.ts";
import { silence, type Telemetry } from "./ports/telemetry.ts";
import { effectItem } from "./rulesDiff.ts";
import { RuleVersions } from "./ruleVersions.ts";
import { RunReporter } from "./runReporter.ts";
import type { EngineParts } from "./runs/engine.ts";
import { ExportStep } from "./runs/exportStep.ts";
import { ImportStep } from "./runs/importStep.ts";
import type { Clock } from "./runs/lease.ts";
import { RunProtocol, type StartRequest, type Timings } from "./runs/protocol.ts";
import { type DiffParts, DiffSyncStep, EffectsStep, noLongerStored } from "./runs/rulesDiff.ts";
import { RulesStep } from "./runs/rulesStep.ts";
import { RulesTrial } from "./runs/rulesTrial.ts";
import type { StepHandler } from "./runs/stepHandler.ts";
import { SyncStep } from "./runs/syncStep.ts";
import { AuditStore } from "./stores/audit.ts";
import { ConnectorSpaceStore } from "./stores/connectorSpace.ts";
import { ConnectorStateStore } from "./stores/connectorState.ts";
import { DiffStore } from "./stores/diffs.ts";
import { HoldStore } from "./stores/holds.ts";
import { ImportErrorStore } from "./stores/importErrors.ts";
import { MetaverseStore } from "./stores/metaverse.ts";
import { ObjectHistoryStore } from "./stores/objectHistory.ts";
import { PlanStore } from "./stores/plans.ts";
import { RulesStore, type StoredHead } from "./stores/rules.ts";
import {
  type Approval,
  CheckpointStore,
  HistoryStore,
  type ObjectOrder,
  type Run,
  RunInTheWay,
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
  /** The rules of the files as they are now; those of `configuration` when not given. */
  ruleFiles?(): readonly ConfigurationFile[];
  openConnector(definition: ConnectorConfiguration): Connector;
  stagingMode(): boolean;
  readonly timings: Timings;
  /** About so many metaverse objects flow in one message; 1,000 when not given. */
  readonly objectsPerMessage?: number;
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

const firstActivation = "The first set of rules.";
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
  readonly holds: HoldStore;
  readonly objectHistory: ObjectHistoryStore;
  readonly protocol: RunProtocol;
  readonly parts: EngineParts;
  readonly #telemetry: Telemetry;
  readonly #reporter: RunReporter;
  readonly rules: RuleVersions;
  /** The name of the connector of kind `rules`; null: there is none. */
  readonly rulesConnector: string | null;
  readonly #connectors = new Map<string, Connector>();
  readonly #schemas = new Map<
    string,
    { readonly readAt: number; readonly types: Promise<readonly ObjectTypeSchema[]> }
  >();
  readonly #tried = new Map<string, Promise<Configuration>>();
  /** Grows with every set of rules that is compiled: an index row too many does no harm. */
  readonly #joinAttributes: Map<string, readonly string[]>;

  constructor(options: EngineOptions) {
    const { tables, clock, configuration } = options;
    this.options = options;
    this.#joinAttributes = joinAttributes(configuration);
    this.connectorSpace = new ConnectorSpaceStore(tables, this.#joinAttributes);
    this.metaverse = new MetaverseStore(tables);
    this.state = new ConnectorStateStore(tables);
    this.runs = new RunStore(tables);
    this.checkpoints = new CheckpointStore(tables);
    this.history = new HistoryStore(tables);
    this.plans = new PlanStore(tables);
    this.schedule = new ScheduleStore(tables);
    this.audit = new AuditStore(tables);
    this.diffs = new DiffStore(tables);
    this.holds = new HoldStore(tables);
    this.objectHistory = new ObjectHistoryStore(tables);
    this.rulesConnector =
      [...configuration.connectors.values()].find(({ kind }) => kind === rulesConnectorKind)?.name ?? null;
    this.rules = new RuleVersions(
      {
        store: new RulesStore(tables),
        clock,
        deployment: configuration,
        files: options.ruleFiles ?? (() => configuration.ruleTexts),
        connector: this.rulesConnector,
        schemas: () => this.#knownSchemas(),
      },
      configuration,
    );
    this.parts = {
      clock,
      random: options.random,
      connectorSpace: this.connectorSpace,
      metaverse: this.metaverse,
      state: this.state,
      seen: new SeenStore(tables),
      importErrors: new ImportErrorStore(tables),
      plans: this.plans,
      holds: this.holds,
      objectHistory: this.objectHistory,
      configuration: (version, connector) => this.configurationOf(version, connector),
      synchronizationKey: async (version, connector) => {
        const run = await this.#compiled(version);
        return run.rulesVersion === version ? synchronizationKey(run, connector) : null;
      },
      connector: async (name) => this.connector(name),
      targets: () => [...this.#joinAttributes.keys()],
      stagingMode: options.stagingMode,
      objectsPerMessage: options.objectsPerMessage ?? 1_000,
    };
    this.#telemetry = options.telemetry ?? silence;
    this.#reporter = new RunReporter({ ...this, telemetry: this.#telemetry, clock, log: options.log });
    const imports = new ImportStep(this.parts);
    const diff: DiffParts = {
      parts: this.parts,
      diffs: this.diffs,
      partsOver: (over: Tables) => this.partsOver(over),
      activeVersion: () => this.rules.activeVersion(),
      tried: (version: string) => this.#triedRules(version),
      toItem: effectItem,
    };
    const synchronisation = this.#synchronisation(diff);
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
        if ((await this.schedule.get()).suspended) return this.runs.forgetWaiting();
        try {
          await this.protocol.start(await this.#cycleRequest(cycle, "timer"));
        } catch (error) {
          // A deployment has taken the cycle away.
          if (error instanceof UnknownName) return this.runs.forgetWaiting();
          // Somebody else was faster, with it or with another run: if it still waits, it waits on.
          if (!(error instanceof RunInTheWay)) throw error;
        }
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
      connectorSpace: new ConnectorSpaceStore(tables, this.#joinAttributes),
      metaverse: new MetaverseStore(tables),
      state: new ConnectorStateStore(tables),
      seen: new SeenStore(tables),
      importErrors: new ImportErrorStore(tables),
      plans: new PlanStore(tables),
      objectHistory: { add: async () => undefined }, // nothing of it happens
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
      const definition = this.definition(name);
      connector =
        definition.kind === rulesConnectorKind
          ? new RulesConnector(definition, () => this.rules.source())
          : this.options.openConnector(definition);
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

  /** The configuration with the rules of a run, whatever has been deployed or activated since it began. */
  async configurationOf(rulesVersion: string, connector?: string): Promise<Configuration> {
    const names = connector === undefined ? [...this.configuration.connectors.keys()] : [connector];
    // Rules are imported although the active ones do not check with a new deployment: how else would it get its own?
    const isOfRules = connector !== undefined && connector === this.rulesConnector;
    const compiled = isOfRules ? this.configuration : await this.#compiled(rulesVersion);
    return withSchemas(compiled, await this.#schemasOf(names));
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

  /** The configuration with the rules that the next run will work with. @throws ConnectorError */
  async activeConfiguration(): Promise<Configuration> {
    const { rulesVersion } = await this.rules.active();
    return this.configurationOf(rulesVersion);
  }

  async #compiled(rulesVersion: string): Promise<Configuration> {
    const compiled = await this.rules.compiled(rulesVersion);
    for (const [connector, names] of joinAttributes(compiled)) {
      const known = this.#joinAttributes.get(connector) ?? [];
      if (names.some((name) => !known.includes(name)))
        this.#joinAttributes.set(connector, [...new Set([...known, ...names])]);
    }
    return compiled;
  }

  /** The synchronisation of rules is their check and activation; all other connectors have the usual one. */
  #synchronisation(diff: DiffParts): StepHandler {
    const usual = new SyncStep(this.parts);
    if (this.rulesConnector === null) return usual;
    const trial = new RulesTrial({
      ...diff,
      deployment: this.configuration,
      active: () => this.activeIfItChecks(),
    });
    const ofRules = new RulesStep(this.parts, this.rules, trial);
    const of = (connector: string): StepHandler => (connector === this.rulesConnector ? ofRules : usual);
    return {
      work: (slice) => of(slice.step.connector).work(slice),
      idle: async (run, step) => (await of(step.connector).idle?.(run, step)) ?? null,
      counted: (run, step) => of(step.connector).counted(run, step),
      finish: async (run, step, isCurrent) => of(step.connector).finish?.(run, step, isCurrent),
      // While new rules wait for approval the active ones are synchronised with.
      standsAlone: ({ connector }) => connector === this.rulesConnector,
    };
  }

  /** Null: the deployment has changed, and the active rules do not check with it. */
  async activeIfItChecks(): Promise<Configuration | null> {
    try {
      return await this.rules.active();
    } catch (error) {
      const isOfRules =
        error instanceof ConfigurationError ||
        (error instanceof ConnectorError && error.kind === "configuration");
      if (isOfRules) return null;
      throw error;
    }
  }

  /** The schemas of those directories that answer: what the others would say of a rule shows when they do. */
  async #knownSchemas(): Promise<ReadonlyMap<string, readonly ObjectTypeSchema[]>> {
    const names = [...this.configuration.connectors.keys()].filter((name) => name !== this.rulesConnector);
    const read = await Promise.all(
      names.map(async (name) => {
        try {
          return [[name, await this.schema(name)] as const];
        } catch (error) {
          if (!(error instanceof ConnectorError)) throw error;
          this.options.log(`The rules were checked without the schema of ${name}: ${error.message}`);
          return [];
        }
      }),
    );
    return new Map(read.flat());
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
      rulesVersion: await this.rulesVersion(trigger, startedBy),
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
      rulesVersion: await this.rulesVersion(trigger, approval.by ?? undefined),
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
      rulesVersion: await this.rulesVersion(trigger, startedBy),
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
    const by = startedBy ?? trigger;
    const { rulesVersion, stored } = await this.rules.forRun({ by, why: firstActivation });
    return {
      cycle: name,
      steps: cycle.steps,
      settledSteps: await this.#settledSteps(cycle.steps, stored),
      trigger,
      ...(startedBy === undefined ? {} : { startedBy }),
      rulesVersion,
    };
  }

  /** The version that a run works with to its end. @throws ConfigurationError before the first activation */
  async rulesVersion(trigger: Trigger, startedBy: string | undefined): Promise<string> {
    const by = startedBy ?? trigger;
    return (await this.rules.forRun({ by, why: firstActivation })).rulesVersion;
  }

  /** How many steps of the rules connector, at the beginning of a cycle, have nothing to do; they cost no message. */
  async #settledSteps(steps: Cycle["steps"], stored: StoredHead): Promise<number> {
    const name = this.rulesConnector;
    if (name === null) return 0;
    const isDelta = ({ connector, type }: Cycle["steps"][number]) =>
      connector === name && (type === "deltaImport" || type === "deltaSync");
    const others = steps.findIndex((step) => !isDelta(step));
    if (others < 1) return 0;
    const hasPending = async () => (await this.state.get(name)).importShards !== "";
    return (await this.rules.isSettled(stored, hasPending)) ? others : 0;
  }

  /** What the timer would start: initial while nothing was ever imported, delta from then on. */
  async nextCycle(): Promise<"initial" | "delta"> {
    const steps = this.configuration.cycles.get("initial")?.steps ?? [];
    const first = steps.find(({ connector }) => connector !== this.rulesConnector);
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
