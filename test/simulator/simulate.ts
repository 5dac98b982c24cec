/**
 * Plays a history over the real engine in memory, and looks whether everything is right in the end. Nothing in here
 * depends on real time or chance: the same history gives the same trace to the byte.
 */
import { createHash } from "node:crypto";
import type { Engine } from "../../src/engine/engine.ts";
import { messageId, type StepMessage } from "../../src/engine/ports/bus.ts";
import { ConnectorError } from "../../src/engine/ports/connector.ts";
import {
  type Operation,
  type Row,
  type RowPage,
  type RowQuery,
  StoreError,
} from "../../src/engine/ports/tables.ts";
import { RunInTheWay } from "../../src/engine/stores/runs.ts";
import { CountedTables, EngineWorld, guestId, guestOu, Life } from "../support/engineWorld.ts";
import { Crash } from "../support/runWorld.ts";
import { type Event, type History, smaller, type Trouble } from "./history.ts";
import { Chance } from "./random.ts";

export interface Outcome {
  /** What is not as it must be; empty when all is well. */
  readonly violations: readonly string[];
  readonly trace: readonly string[];
  /** SHA-256 of the trace. */
  readonly digest: string;
  readonly deliveries: number;
}

/** Bugs that are put in on purpose, to see whether they would be found. */
export interface Sabotage {
  /** Writes do not ask whether the row is still as it was read: no lease, fence or ETag holds. */
  readonly blindWrites?: boolean;
  /** Changes each engine as it starts. */
  readonly engine?: (engine: Engine) => void;
}

const minuteMs = 60_000;
/** More deliveries than any history needs: beyond them it never comes to rest. */
const deliveriesMax = 5_000;
/** As Service Bus is set up for us. */
const deliveryCountMax = 10;

export async function simulate(history: History, sabotage: Sabotage = {}): Promise<Outcome> {
  const play = new Play(history, sabotage);
  const violations = await play.run();
  const { trace, deliveries } = play;
  const digest = createHash("sha256").update(trace.join("\n")).digest("hex");
  return { violations, trace, digest, deliveries };
}

/** The smallest history found that still violates something. */
export async function shrink(history: History, sabotage?: Sabotage, attemptsMax = 400): Promise<History> {
  let smallest = history;
  let attempts = 0;
  for (let found = true; found && attempts < attemptsMax; ) {
    found = false;
    for (const candidate of smaller(smallest)) {
      if (++attempts > attemptsMax) break;
      if ((await simulate(candidate, sabotage)).violations.length === 0) continue;
      smallest = candidate;
      found = true;
      break;
    }
  }
  return smallest;
}

interface Worker {
  engine: Engine;
  life: Life;
  /** The number that the world knows it by. */
  number: number;
  /** Set while it is frozen in the middle of its work. */
  thaw: (() => void) | null;
}

class TroubledTables extends CountedTables {
  /** Called before and after each request; may throw. */
  trouble: (when: "before" | "after") => void = () => undefined;
  blind = false;

  override async get(table: string, partition: string, row: string): Promise<Row | undefined> {
    this.trouble("before");
    return super.get(table, partition, row);
  }

  override async query(table: string, query: RowQuery, continuation?: string): Promise<RowPage> {
    this.trouble("before");
    return super.query(table, query, continuation);
  }

  override async transact(
    table: string,
    partition: string,
    operations: readonly Operation[],
  ): Promise<readonly string[]> {
    this.trouble("before");
    const etags = await super.transact(
      table,
      partition,
      this.blind ? operations.map(unconditional) : operations,
    );
    this.trouble("after");
    return etags;
  }
}

function unconditional(operation: Operation): Operation {
  return operation.kind === "replace"
    ? { kind: "replace", row: operation.row, properties: operation.properties }
    : operation;
}

class Play {
  readonly trace: string[] = [];
  deliveries = 0;
  readonly #history: History;
  readonly #sabotage: Sabotage;
  readonly #chance: Chance;
  readonly #tables = new TroubledTables();
  readonly #world: EngineWorld;
  readonly #workers: Worker[] = [];
  readonly #deliveryCounts = new Map<string, number>();
  readonly #underWay = new Set<Promise<void>>();
  readonly #bugs: string[] = [];
  #troubled = true;
  #processes = 0;
  #freezing: { readonly worker: Worker; left: number } | null = null;

  constructor(history: History, sabotage: Sabotage) {
    this.#history = history;
    this.#sabotage = sabotage;
    this.#chance = new Chance(history.seed ^ 0x5f3759df);
    this.#world = new EngineWorld({
      detectsDuplicates: history.detectsDuplicates,
      tables: this.#tables,
      connector: { pageSize: history.pageSize },
      timings: history.slices === "short" ? { budgetMs: 0 } : {},
    });
    this.#processes = 1; // the world's own
    this.#tables.blind = sabotage.blindWrites ?? false;
    this.#tables.trouble = (when) => {
      if (this.#may("store", when === "before" ? 0.004 : 0.002))
        throw new StoreError("unreachable", `The tables did not answer (${when}).`);
    };
    this.#world.beforeTransaction = (_table, _operations, number) => this.#perhapsFreeze(number);
    for (const directory of [this.#world.guests, this.#world.accounts]) {
      const fail = (probability: number, trouble: Trouble) => () => {
        if (!this.#may(trouble, probability)) return;
        const kind = this.#chance.happens(0.5) ? "unreachable" : "throttled";
        throw new ConnectorError(
          trouble === "lostAnswer" ? "unreachable" : kind,
          "The directory did not answer.",
        );
      };
      directory.beforePage = fail(0.05, "directory");
      directory.beforeWrite = fail(0.05, "directory");
      directory.afterWrite = fail(0.08, "lostAnswer");
    }
  }

  async run(): Promise<readonly string[]> {
    for (let number = 0; number < this.#history.guests; number++) this.#world.addGuest(number);
    for (let number = 0; number < this.#history.workers; number++) this.#workers.push(this.#newWorker());
    try {
      for (const event of this.#history.events) {
        this.#world.now += minuteMs;
        await this.#apply(event);
        await this.#deliver(this.#chance.integer(0, 12));
        const wrong = [...this.#twice(), ...this.#bugs];
        if (wrong.length > 0) return wrong;
      }
      return await this.#calm();
    } catch (error) {
      return [`${(error as Error).name}: ${(error as Error).message}`];
    }
  }

  // ---- what happens --------------------------------------------------------------------------------------------

  async #apply(event: Event): Promise<void> {
    const world = this.#world;
    this.trace.push(JSON.stringify(event));
    switch (event.kind) {
      case "edit":
        return this.#edit(event.edit, event.guest);
      case "cycle":
        return this.#ask(({ engine }) => engine.startCycle(event.cycle, "http"));
      case "profile":
        return this.#ask(({ engine }) => engine.startProfile(event.connector, event.profile, "http"));
      case "timer":
        return this.#ask(({ engine }) => engine.onTimer());
      case "stop":
        return this.#ask(async ({ engine }) => {
          for (const id of await engine.runs.openIds()) await engine.protocol.requestStop(id);
        });
      case "pass":
        world.now += event.hours * 60 * minuteMs;
        return;
      case "deliver":
        return this.#deliver(event.count);
    }
  }

  #edit(edit: typeof import("./history.ts").edits[number], number: number): void {
    const { guests, accounts, now } = this.#world;
    const id = guestId(number);
    const guest = guests.objects.get(id);
    const here = guest !== undefined && guest.gone === null;
    const [account] = this.#world.accountsOf(id);
    switch (edit) {
      case "add":
        if (guest === undefined) this.#world.addGuest(number);
        return;
      case "rename":
        if (here) guests.change(id, { displayName: `Name ${now}` });
        return;
      case "newMail":
        if (here) guests.change(id, { mail: `${now}@example.org` });
        return;
      case "block":
      case "unblock":
        if (here) guests.change(id, { accountEnabled: edit === "unblock" });
        return;
      case "softDelete":
        if (here) guests.remove(id, "softDeleted");
        return;
      case "purge":
        if (guest?.gone === "softDeleted") guests.remove(id, "deleted");
        return;
      case "restore":
        if (guest?.gone === "softDeleted") guests.restore(id);
        return;
      case "accountByHand": {
        const dn = `CN=By hand ${number},${guestOu}`;
        if (accounts.holderOf(dn, {}) === undefined) accounts.add(dn, { displayName: "Made by hand" });
        return;
      }
      case "accountMoved": {
        const dn = `CN=${id},OU=Moved,${guestOu}`;
        if (account !== undefined && accounts.holderOf(dn, {}) === undefined)
          accounts.rename(account.anchor, dn);
        return;
      }
      case "accountChanged":
        if (account !== undefined) accounts.change(account.anchor, { displayName: "Changed by hand" });
        return;
    }
  }

  /** Somebody asks one of the processes for something; it may die of it, refuse, or not reach its tables. */
  async #ask(what: (worker: Worker) => Promise<unknown>): Promise<void> {
    const worker = this.#free();
    if (worker === undefined) return;
    try {
      await what(worker);
      if (worker.life.dead) throw new Crash();
      this.trace.push("asked");
    } catch (error) {
      if (error instanceof Crash) this.#replace(worker);
      else if (
        !(error instanceof RunInTheWay || error instanceof StoreError || error instanceof ConnectorError)
      )
        throw error;
      this.trace.push(`asked: ${(error as Error).name}`);
    }
  }

  async #deliver(count: number): Promise<void> {
    const { bus } = this.#world;
    for (let done = 0; done < count; done++) {
      if (++this.deliveries > deliveriesMax) throw new Error(`no rest after ${deliveriesMax} deliveries`);
      if (this.#may("jump", 0.02)) this.#world.now += this.#chance.integer(1, 5) * minuteMs;
      if (this.#chance.happens(0.03)) await this.#watch();
      if (this.#chance.happens(0.3)) this.#thawOne();
      const due = bus.waiting.filter(({ at }) => at <= this.#world.now);
      const next = this.#may("delay", 0.3) ? due[this.#chance.integer(0, due.length - 1)] : due[0];
      const worker = this.#free();
      if (next === undefined || worker === undefined) {
        if (this.#thawOne()) continue;
        if (bus.waiting.length === 0) return;
        this.#world.now = Math.max(this.#world.now, Math.min(...bus.waiting.map(({ at }) => at)));
        continue;
      }
      bus.waiting.splice(bus.waiting.indexOf(next), 1);
      if (this.#may("duplicate", 0.1)) {
        const later = this.#chance.happens(0.5) ? this.#chance.integer(1, 300_000) : 0;
        bus.waiting.push({ ...next, at: this.#world.now + later });
      }
      if (this.#may("crash", 0.12)) this.#replace(worker, this.#chance.integer(1, 60));
      if (this.#may("freeze", 0.08)) this.#freezing = { worker, left: this.#chance.integer(0, 6) };
      await this.#hand(worker, next.message, next.queue);
    }
  }

  /** Hands a message to a process and waits until it is done with it, or frozen in it. */
  async #hand(worker: Worker, message: StepMessage, queue: string): Promise<void> {
    let settled = false;
    const work = this.#receive(worker, message, queue).finally(() => {
      settled = true;
      this.#underWay.delete(work);
    });
    this.#underWay.add(work);
    while (!settled && worker.thaw === null) await new Promise(setImmediate);
    this.#freezing = null;
    if (settled) await work;
    else this.trace.push(`worker frozen in ${messageId(message)}`);
  }

  async #receive(worker: Worker, message: StepMessage, queue: string): Promise<void> {
    const { bus } = this.#world;
    const id = messageId(message);
    const again = (why: string): void => {
      this.trace.push(`${id}: ${why}`);
      const count = (this.#deliveryCounts.get(id) ?? 0) + 1;
      this.#deliveryCounts.set(id, count);
      if (count < deliveryCountMax) bus.waiting.unshift({ message, queue, at: 0 });
      else bus.waiting.push({ message, queue: `${queue}/$deadletterqueue`, at: 0 });
    };
    const { engine, life } = worker;
    try {
      const outcome = queue.endsWith("/$deadletterqueue")
        ? await engine.protocol.receiveDeadLetter(message, "delivered too often")
        : await engine.receive(message);
      if (life.dead) throw new Crash();
      this.trace.push(`${id}: ${outcome}`);
    } catch (error) {
      if (error instanceof Crash) {
        if (worker.life === life) this.#replace(worker);
        again("crashed");
      } else {
        again((error as Error).message);
        // Only the tables may fail a message; whatever else is thrown is a bug.
        if (!(error instanceof StoreError)) this.#bugs.push(`${id}: ${(error as Error).stack}`);
      }
    }
  }

  async #watch(): Promise<void> {
    const worker = this.#free();
    if (worker === undefined) return;
    try {
      const woken = await worker.engine.protocol.watch();
      if (worker.life.dead) throw new Crash();
      for (const one of woken) this.trace.push(`watchdog: ${one}`);
    } catch (error) {
      if (error instanceof Crash) this.#replace(worker);
      else if (!(error instanceof StoreError)) throw error;
    }
  }

  // ---- processes -----------------------------------------------------------------------------------------------

  #newWorker(effects = Number.POSITIVE_INFINITY): Worker {
    const life = new Life(effects);
    const engine = this.#world.newEngine(life);
    this.#sabotage.engine?.(engine);
    return { engine, life, number: this.#processes++, thaw: null };
  }

  #replace(worker: Worker, effects?: number): void {
    Object.assign(worker, this.#newWorker(effects));
  }

  #free(): Worker | undefined {
    const free = this.#workers.filter(({ thaw }) => thaw === null);
    return free.length === 0 ? undefined : this.#chance.one(free);
  }

  async #perhapsFreeze(number: number): Promise<void> {
    const freezing = this.#freezing;
    if (freezing === null || freezing.worker.number !== number || freezing.left-- > 0) return;
    this.#freezing = null;
    const { worker } = freezing;
    await new Promise<void>((resolve) => {
      worker.thaw = () => {
        worker.thaw = null;
        resolve();
      };
    });
  }

  #thawOne(): boolean {
    const frozen = this.#workers.filter(({ thaw }) => thaw !== null);
    if (frozen.length === 0) return false;
    // Long enough that its lease has been taken over, or not.
    if (this.#chance.happens(0.5)) this.#world.now += 100_000;
    this.#chance.one(frozen).thaw!();
    return true;
  }

  #may(trouble: Trouble, probability: number): boolean {
    return this.#troubled && this.#history.troubles.includes(trouble) && this.#chance.happens(probability);
  }

  // ---- the end -------------------------------------------------------------------------------------------------

  async #calm(): Promise<readonly string[]> {
    const world = this.#world;
    this.#troubled = false;
    while (this.#thawOne()) await new Promise(setImmediate);
    await Promise.all(this.#underWay);
    for (const worker of this.#workers) this.#replace(worker);
    world.bus.waiting.splice(
      0,
      world.bus.waiting.length,
      ...world.bus.waiting.filter(({ queue }) => !queue.endsWith("/$deadletterqueue")),
    );
    world.restart();
    this.#sabotage.engine?.(world.engine);
    // What was held back by delays of objects or by grace is due within two months.
    await world.settle();
    for (let round = 0; round < 2; round++) {
      world.now += 24 * 60 * minuteMs;
      await world.cycle("initial");
    }
    world.accounts.writes.length = 0;
    const last = await world.cycle("delta");
    const again = await world.cycle("delta");
    const violations = [...this.#bugs, ...this.#twice(), ...(await this.#wrong())];
    if (last.status !== "success" || again.status !== "success")
      violations.push(`the last cycles ended with ${last.status} and ${again.status}`);
    if (world.accounts.writes.length > 0) violations.push(`not at rest: ${world.accounts.writes.join("; ")}`);
    const open = await world.engine.runs.openIds();
    if (open.length > 0) violations.push(`open runs: ${open.join(", ")}`);
    this.trace.push(...(await this.#ending()));
    return violations;
  }

  #twice(): string[] {
    const { guests } = this.#world;
    return [...guests.objects.keys()]
      .map((id) => [id, this.#world.accountsOf(id).length] as const)
      .filter(([, count]) => count > 1)
      .map(([id, count]) => `${id} has ${count} accounts`);
  }

  async #wrong(): Promise<string[]> {
    const world = this.#world;
    const living = [...world.wanted()].filter(([id]) => world.guests.objects.get(id)!.gone === null);
    const wrong = world.wrong(new Map(living)).filter((one) => !one.includes("should not be there"));
    for (const { anchor, gone } of world.guests.objects.values()) {
      if (gone === null) continue;
      for (const { attributes, dn } of world.accountsOf(anchor))
        if (attributes.userAccountControl !== 262658n) wrong.push(`${dn} of a gone guest is enabled`);
    }
    for (const [guest, ids] of await world.persons())
      if (guest !== "nobody" && ids.length > 1) wrong.push(`${guest} is ${ids.length} persons`);
    for (const connector of ["AADMA", "ADMA"]) {
      const [counted, held] = await world.countedAndHeld(connector);
      if (JSON.stringify(counted) !== JSON.stringify(held))
        wrong.push(`${connector} counts ${JSON.stringify(counted)} and holds ${JSON.stringify(held)}`);
    }
    const byHand = world.accounts.listed().filter(({ dn }) => dn.startsWith("CN=By hand"));
    for (const { dn, attributes } of byHand)
      if (attributes.displayName !== "Made by hand") wrong.push(`${dn} is not ours and was changed`);
    return [...wrong, ...(await world.outstanding())];
  }

  /** The directory in the end, as a part of the trace. */
  async #ending(): Promise<string[]> {
    return this.#world.accounts
      .listed()
      .map(({ dn, attributes }) => `${dn} ${String(attributes.userAccountControl)} ${attributes.displayName}`)
      .sort();
  }
}
