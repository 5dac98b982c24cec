/**
 * The real engine with the real configuration over tables, a queue and two directories in memory, and a clock that
 * stands still until it is moved. Processes die and start again; tables, queue and directories stay.
 */
import { stepMessageSchema } from "../../src/api/stepMessage.ts";
import type { Configuration, ConfigurationFile } from "../../src/engine/core/configuration.ts";
import type { Attributes, AttributeValue } from "../../src/engine/core/values.ts";
import { Engine } from "../../src/engine/engine.ts";
import { ExportPlans } from "../../src/engine/exportPlan.ts";
import type { StepMessage } from "../../src/engine/ports/bus.ts";
import type { Connector } from "../../src/engine/ports/connector.ts";
import type { Operation, Row, RowPage, RowQuery, Tables } from "../../src/engine/ports/tables.ts";
import type { Telemetry } from "../../src/engine/ports/telemetry.ts";
import { defaultTimings, type Timings } from "../../src/engine/runs/protocol.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import type { Run } from "../../src/engine/stores/runs.ts";
import { guestOu, guestValues, recipe } from "../fast/support/guestWorld.ts";
import {
  type ConnectorOptions,
  MemoryConnector,
  MemoryDirectory,
  type MemoryObject,
} from "./memoryConnector.ts";
import { Crash, MemoryBus } from "./runWorld.ts";

export { guestOu, guestValues };

/** The same digits in front, so that guests differ where an account name no longer shows it. */
export const guestId = (number: number) =>
  `${number.toString(16).padStart(8, "0")}-b488-41db-9000-000000000001`;

function guestDirectory(): MemoryDirectory {
  return new MemoryDirectory({
    objectType: "user",
    attributes: {
      id: "string",
      userPrincipalName: "string",
      displayName: "string",
      givenName: "string",
      surname: "string",
      mail: "string",
      userType: "string",
      accountEnabled: "boolean",
      externalUserState: "string",
    },
    unique: [],
    stamp: null,
  });
}

function accountDirectory(): MemoryDirectory {
  return new MemoryDirectory({
    objectType: "user",
    attributes: {
      cn: "string",
      objectGUID: "binary",
      objectSid: "binary",
      sAMAccountName: "string",
      userPrincipalName: "string",
      displayName: "string",
      givenName: "string",
      sn: "string",
      mail: "string",
      employeeType: "string",
      adminDescription: "string",
      userAccountControl: "integer",
      info: "string",
    },
    unique: ["sAMAccountName", "userPrincipalName"],
    stamp: "adminDescription",
    given: (anchor, dn) => ({
      cn: dn.slice(3, dn.indexOf(",")),
      objectGUID: new Uint8Array(Buffer.from(anchor.replaceAll("-", ""), "hex")),
      objectSid: new Uint8Array([1, 5, ...Buffer.from(anchor.replaceAll("-", ""), "hex")]),
    }),
  });
}

/** Counts requests and knows every row, so that tables can be copied and searched. */
export class CountedTables implements Tables {
  readonly inner = new MemoryTables();
  readonly partitions = new Map<string, Set<string>>();
  reads = 0;
  transactions = 0;

  get(table: string, partition: string, row: string): Promise<Row | undefined> {
    this.reads++;
    return this.inner.get(table, partition, row);
  }

  query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    this.reads++;
    return this.inner.query(table, query, continuation);
  }

  transact(table: string, partition: string, operations: readonly Operation[]): Promise<readonly string[]> {
    this.transactions++;
    this.partitions.set(table, (this.partitions.get(table) ?? new Set()).add(partition));
    return this.inner.transact(table, partition, operations);
  }

  async rows(table: string): Promise<Row[]> {
    const all: Row[] = [];
    for (const partition of this.partitions.get(table) ?? []) {
      let continuation: string | undefined;
      do {
        const page = await this.inner.query(table, { partition }, continuation);
        all.push(...page.rows);
        continuation = page.continuation;
      } while (continuation !== undefined);
    }
    return all;
  }

  async copy(): Promise<CountedTables> {
    const copy = new CountedTables();
    for (const table of this.partitions.keys()) {
      for (const { partition, row, properties } of await this.rows(table)) {
        await copy.transact(table, partition, [{ kind: "insert", row, properties }]);
      }
    }
    return copy;
  }
}

/** What one process may do before it dies: so many effects (transactions, sends, writes to a directory). */
export class Life {
  left: number;
  dead = false;

  constructor(effects: number) {
    this.left = effects;
  }

  alive = (): void => {
    if (this.dead) throw new Crash();
  };

  dies(): boolean {
    this.dead = this.left-- <= 0;
    return this.dead;
  }
}

export interface WorldOptions {
  readonly telemetry?: Telemetry;
  readonly detectsDuplicates?: boolean;
  readonly configuration?: Configuration;
  readonly timings?: Partial<Timings>;
  /** When not given, each shard has a message of its own: the fewest objects are enough for sixteen workers. */
  readonly objectsPerMessage?: number;
  readonly connector?: ConnectorOptions;
  readonly tables?: CountedTables;
  /** Opens the connectors in place of those over the directories in memory. */
  open?(name: string): Connector | undefined;
}

export class EngineWorld {
  now = Date.parse("2026-01-01T00:00:00Z");
  /** Of the processes that start from now on. */
  configuration: Configuration;
  tables: CountedTables;
  readonly bus: MemoryBus;
  readonly guests = guestDirectory();
  readonly accounts = accountDirectory();
  readonly options: WorldOptions;
  readonly said: string[] = [];
  /** What stands in the files of the rules; those of the configuration when null. */
  ruleFiles: readonly ConfigurationFile[] | null = null;
  stagingMode = false;
  /** Called before each transaction, with the process that makes it; may wait. */
  beforeTransaction: (
    table: string,
    operations: readonly Operation[],
    engine: number,
  ) => Promise<void> | void = () => undefined;
  /** Called before each request to the tables and each work of a connector, with the process; may wait. */
  turn: (engine: number) => Promise<void> | undefined = () => undefined;
  /** Called before and after a message is sent; may throw. */
  sending: (when: "before" | "after") => void = () => undefined;
  /** Called before each write to a directory, with the process that makes it. */
  beforeWrite: (engine: number) => void = () => undefined;
  /** How far the clock of a process is ahead, in milliseconds. */
  skewMs: (engine: number) => number = () => 0;
  /** How many effects each process has that takes over from a dead one. */
  lifeOfEach = Number.POSITIVE_INFINITY;
  /** Effects of the process that runs now. */
  effects = 0;
  /** Processes that died. */
  crashes = 0;
  engine: Engine;
  #life: Life;
  #ids = 0;
  #engines = 0;

  constructor(options: WorldOptions = {}) {
    this.options = options;
    this.configuration = options.configuration ?? recipe;
    this.guests.counts = true;
    this.tables = options.tables ?? new CountedTables();
    this.bus = new MemoryBus(options.detectsDuplicates ?? true);
    this.#life = new Life(Number.POSITIVE_INFINITY);
    this.engine = this.newEngine(this.#life);
  }

  /** A new process over the same tables; it dies at its n-th effect. */
  restart(effects = this.lifeOfEach): void {
    this.#life = new Life(effects);
    this.effects = 0;
    this.engine = this.newEngine(this.#life);
  }

  get crashed(): boolean {
    return this.#life.dead;
  }

  newEngine(life = new Life(Number.POSITIVE_INFINITY)): Engine {
    const number = this.#engines++;
    const { configuration } = this;
    const effect = () => {
      life.alive();
      if (life.dies()) {
        this.crashes++;
        throw new Crash();
      }
      this.effects++;
    };
    const open = (directory: MemoryDirectory): Connector =>
      new MemoryConnector(directory, {
        ...this.options.connector,
        alive: life.alive,
        effect: () => {
          effect();
          this.beforeWrite(number);
        },
        turn: () => this.turn(number),
      });
    const tables: Tables = {
      get: async (...asked) => {
        await this.turn(number);
        life.alive();
        return this.tables.get(...asked);
      },
      query: async (...asked) => {
        await this.turn(number);
        life.alive();
        return this.tables.query(...asked);
      },
      transact: async (table, partition, operations) => {
        await this.turn(number);
        await this.beforeTransaction(table, operations, number);
        effect();
        return this.tables.transact(table, partition, operations);
      },
    };
    return new Engine({
      tables,
      bus: {
        send: async (...sent) => {
          this.sending("before");
          effect();
          await this.bus.send(...sent);
          this.sending("after");
        },
      },
      pingBus: async () => undefined,
      clock: { now: () => this.now + this.skewMs(number) },
      random: () => 0.5,
      randomHex: (digits) => {
        const id = (++this.#ids).toString(16).padStart(digits, "0").slice(-digits);
        // Owners of leases are known by their process.
        return digits > 6 ? `${number}-${id}` : id;
      },
      configuration,
      ruleFiles: () => this.ruleFiles ?? configuration.ruleTexts,
      openConnector: ({ name }) =>
        this.options.open?.(name) ?? open(name === "AADMA" ? this.guests : this.accounts),
      stagingMode: () => this.stagingMode,
      timings: { ...defaultTimings, ...this.options.timings },
      objectsPerMessage: this.options.objectsPerMessage ?? 1 / 16,
      ...(this.options.telemetry === undefined ? {} : { telemetry: this.options.telemetry }),
      log: () => undefined,
    });
  }

  // ---- the queue -----------------------------------------------------------------------------------------------

  /** Delivers the next due message to `engine`; null when none is due. A crash leaves it to be delivered again. */
  async deliver(engine = this.engine): Promise<string | null> {
    const index = this.bus.waiting.findIndex(({ at }) => at <= this.now);
    if (index < 0) return null;
    const [next] = this.bus.waiting.splice(index, 1);
    return this.receive(next!.message, engine);
  }

  async receive(message: StepMessage, engine = this.engine): Promise<string> {
    try {
      // As the functions do: what a queue brings is checked first.
      const outcome = await engine.receive(stepMessageSchema.parse(message));
      if (this.crashed) throw new Crash();
      return outcome;
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.bus.waiting.unshift({ message, queue: "", at: 0 });
      this.restart();
      return "crashed";
    }
  }

  /** Delivers until nothing is left, moving the clock to what is scheduled. */
  async quiet(limit = 2000): Promise<void> {
    for (let count = 0; count < limit; count++) {
      const outcome = await this.deliver();
      if (outcome !== null) this.said.push(outcome);
      else if (this.bus.waiting.length === 0) return;
      else this.now = Math.min(...this.bus.waiting.map(({ at }) => at));
    }
    throw new Error(`Not quiet after ${limit} messages: ${this.said.slice(-6).join("; ")}`);
  }

  /** As `quiet`, with several processes that take messages side by side. */
  async together(engines: readonly Engine[]): Promise<void> {
    let busy = 0;
    await Promise.all(
      engines.map(async (engine) => {
        for (;;) {
          busy++;
          const outcome = await this.deliver(engine);
          busy--;
          if (outcome !== null) this.said.push(outcome);
          else if (busy > 0) await new Promise(setImmediate);
          else if (this.bus.waiting.length === 0) return;
          else this.now = Math.max(this.now, Math.min(...this.bus.waiting.map(({ at }) => at)));
        }
      }),
    );
  }

  /** Quiet, with the watchdog's help for as long as runs are open. */
  async settle(): Promise<void> {
    for (let round = 0; round < 100; round++) {
      await this.quiet();
      if ((await this.engine.runs.openIds()).length === 0) return;
      this.now += 120_000;
      await this.surviving(() => this.engine.protocol.watch());
    }
    throw new Error(`Runs stay open: ${this.said.slice(-6).join("; ")}`);
  }

  /** Does it again in a new process for as long as the process dies of it. */
  async surviving<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        this.restart();
      }
    }
  }

  cycle(name: "initial" | "delta"): Promise<Run> {
    return this.#run(() => this.engine.startCycle(name, "http"));
  }

  profile(connector: string, profile: string): Promise<Run> {
    return this.#run(() => this.engine.startProfile(connector, profile, "http"));
  }

  get plans(): ExportPlans {
    return new ExportPlans(this.engine);
  }

  /** Approves the export plan as it is shown now, or the one with this hash. */
  async approve(hash?: string): Promise<Run> {
    const shown = hash ?? (await this.surviving(() => this.plans.page("ADMA", 1))).hash;
    const approval = { hash: shown, why: "It is what we want.", by: "ann@corp.example" };
    return this.#run(() => this.plans.approve("ADMA", approval, "http"));
  }

  /** From its start to its end. A process that dies of starting it may have left it behind, or not. */
  async #run(start: () => Promise<Run>): Promise<Run> {
    this.now += 1000; // runs are ordered by the time of their start
    const before = (await this.engine.runs.page(1)).runs[0]?.id;
    await this.surviving(async () => {
      if (before === (await this.engine.runs.page(1)).runs[0]?.id) await start();
    });
    await this.settle();
    return this.lastRun();
  }

  async lastRun(): Promise<Run> {
    const { runs } = await this.engine.runs.page(1);
    return runs[0]!;
  }

  // ---- what is there -------------------------------------------------------------------------------------------

  addGuest(number: number, changed: Attributes = {}): string {
    const id = guestId(number);
    this.guests.add(id, guestValues(id, changed), id);
    return id;
  }

  accountsOf(guest: string): MemoryObject[] {
    return this.accounts.listed().filter(({ attributes }) => attributes.adminDescription === `User_${guest}`);
  }

  /** The accounts that the rules want of the guests as they are, by guest; only attributes that the rules own. */
  wanted(): Map<string, Record<string, AttributeValue | undefined>> {
    const wanted = new Map<string, Record<string, AttributeValue | undefined>>();
    for (const { anchor, attributes, gone } of this.guests.objects.values()) {
      const deleted = gone === "softDeleted" || gone === "deleted";
      const enabled =
        gone === null &&
        attributes.accountEnabled === true &&
        attributes.externalUserState !== "PendingAcceptance";
      wanted.set(anchor, {
        sAMAccountName: anchor.slice(0, 20),
        userPrincipalName: deleted ? undefined : attributes.userPrincipalName,
        displayName: attributes.displayName,
        givenName: attributes.givenName,
        sn: attributes.surname,
        mail: attributes.mail,
        employeeType: "Guest",
        adminDescription: `User_${anchor}`,
        userAccountControl: enabled ? 262656n : 262658n,
      });
    }
    return wanted;
  }

  /** The tables are lost, or those of another day are restored; the queue and the processes begin anew. */
  restore(tables: CountedTables): void {
    this.tables = tables;
    this.bus.waiting.length = 0;
    this.restart();
  }

  /** What keeps the accounts from being as the rules want them; empty when all is right. */
  wrong(wanted = this.wanted()): string[] {
    const wrong: string[] = [];
    for (const [guest, attributes] of wanted) {
      const found = this.accountsOf(guest);
      if (found.length !== 1) wrong.push(`${guest} has ${found.length} accounts`);
      for (const [name, value] of Object.entries(attributes)) {
        const is = found[0]?.attributes[name];
        if (is !== value) wrong.push(`${guest} ${name}: ${String(is)} instead of ${String(value)}`);
      }
    }
    for (const { attributes, dn } of this.accounts.listed()) {
      const stamp = attributes.adminDescription;
      if (typeof stamp !== "string" || !stamp.startsWith("User_")) continue;
      if (!wanted.has(stamp.slice(5))) wrong.push(`${dn} should not be there`);
    }
    return wrong;
  }

  /** Objects with something outstanding. */
  async outstanding(connectors = ["AADMA", "ADMA"]): Promise<string[]> {
    const left: string[] = [];
    for (const connector of connectors) {
      for (const shard of "0123456789abcdef") {
        for await (const { object } of this.engine.connectorSpace.range(connector, shard)) {
          const { id, dn, pendingImport, pendingExport, escrow, unconfirmed, linking, error } = object;
          const open = { pendingImport, pendingExport, escrow, unconfirmed, linking, error };
          for (const [name, value] of Object.entries(open))
            if (value !== null)
              left.push(`${connector} ${id} ${dn}: ${name} ${JSON.stringify(value, noBigint)}`);
        }
      }
    }
    const work = (await this.tables.rows("metaverse")).filter(({ row }) => row.startsWith("w|"));
    return [...left, ...work.map(({ row }) => `metaverse ${row}`)];
  }

  /** What the counters of the partitions say that the connector space holds, and what it does hold. */
  async countedAndHeld(connector: string): Promise<[Record<string, number>, Record<string, number>]> {
    const { objects = 0, connectors = 0 } = await this.engine.connectorSpace.totals(connector);
    const held = { objects: 0, connectors: 0 };
    for (const shard of "0123456789abcdef") {
      for await (const { object } of this.engine.connectorSpace.range(connector, shard)) {
        held.objects++;
        if (object.metaverseId !== null) held.connectors++;
      }
    }
    return [{ objects, connectors }, held];
  }

  /** Persons by the guest they stand for; tombstones too. */
  async persons(): Promise<Map<string, string[]>> {
    const found = new Map<string, string[]>();
    for (const shard of "0123456789abcdef") {
      for await (const { object } of this.engine.metaverse.range(shard)) {
        const uid = String(object.attributes.uid?.value ?? "nobody");
        found.set(uid, [...(found.get(uid) ?? []), object.id]);
      }
    }
    return found;
  }
}

const noBigint = (_: string, value: unknown) => (typeof value === "bigint" ? String(value) : value);
