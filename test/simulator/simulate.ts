/**
 * Plays a history over the real engine in memory, and looks whether everything is right in the end. Nothing in here
 * depends on real time or chance: the same history gives the same trace to the byte.
 */
import { createHash } from "node:crypto";
import type { Engine } from "../../src/engine/engine.ts";
import { messageId, type StepMessage } from "../../src/engine/ports/bus.ts";
import { ConnectorError } from "../../src/engine/ports/connector.ts";
import { StoreError } from "../../src/engine/ports/tables.ts";
import { EngineWorld, guestId, Life } from "../support/engineWorld.ts";
import { Crash } from "../support/runWorld.ts";
import { applyEdit } from "./edits.ts";
import { type Event, type History, smaller, type Trouble } from "./history.ts";
import { Chance } from "./random.ts";
import { brokenTexts, ruleSet, type Variation } from "./ruleSets.ts";
import { SafetyWatch } from "./safetyWatch.ts";
import { TroubledTables } from "./troubledTables.ts";
import { Turns } from "./turns.ts";
import { ending, leaveBehind, twice, wrongAtRest, wronglyCounted } from "./verdict.ts";

export interface Outcome {
  /** What is not as it must be; empty when all is well. */
  readonly violations: readonly string[];
  readonly trace: readonly string[];
  /** SHA-256 of the trace. */
  readonly digest: string;
  readonly deliveries: number;
  /** Transactions, messages sent and writes to a directory while events happened. */
  readonly effects: number;
  /** How often each trouble happened, and what came of them. */
  readonly happened: Readonly<Record<string, number>>;
}

/** The queue did not take a message, or did not say so. */
class QueueError extends Error {
  override readonly name = "QueueError";
}

/** Bugs that are put in on purpose, to see whether they would be found. */
export interface Sabotage {
  /** Writes do not ask whether the row is still as it was read: no lease, fence or ETag holds. */
  readonly blindWrites?: boolean;
  /** Changes each engine as it starts. */
  readonly engine?: (engine: Engine) => void;
}

const minuteMs = 60_000;
/** More than any history needs: beyond them it never comes to rest. */
const deliveriesMax = 5_000;
const turnsMax = 300_000;
/** As Service Bus is set up for us. */
const deliveryCountMax = 10;
/** What may be answered to somebody who asks for a run; anything else is a bug. */
const refusals = new Set(["RunInTheWay", "StoreError", "QueueError", "ConnectorError", "ConfigurationError"]);
/** Clocks of processes differ by less than the time after which a lease is taken over. */
const skewMaxMs = 12_000;

export async function simulate(history: History, sabotage: Sabotage = {}): Promise<Outcome> {
  const play = new Play(history, sabotage);
  const violations = await play.run();
  const { trace, deliveries, effects, happened } = play;
  const digest = createHash("sha256").update(trace.join("\n")).digest("hex");
  return { violations, trace, digest, deliveries, effects, happened };
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

/**
 * The history with a crash after each of its effects in turn, or after every `stride`-th from `first` on; in half of
 * them what is open is stopped then.
 */
export async function* crashedEverywhere(history: History, stride = 1, first = 1): AsyncGenerator<History> {
  const { effects } = await simulate(history);
  for (let crashAt = first; crashAt <= effects; crashAt += stride)
    yield { ...history, crashAt, crashStops: (crashAt & 2) !== 0 };
}

/** A process that runs the engine. */
interface Worker {
  engine: Engine;
  life: Life;
  /** The number that the world knows it by. */
  number: number;
  /** Stopped in the middle of its work. */
  frozen: boolean;
}

/** Something that a process is at. */
interface Task {
  readonly worker: Worker;
  readonly number: number;
  done: boolean;
}

/** Dies by its own effects, or by those of all processes. */
class SharedLife extends Life {
  readonly #diesNow: () => boolean;

  constructor(diesNow: () => boolean) {
    super(Number.POSITIVE_INFINITY);
    this.#diesNow = diesNow;
  }

  override dies(): boolean {
    if (this.#diesNow()) this.left = 0;
    return super.dies();
  }
}

const isOfThePlatform = (error: unknown) => error instanceof StoreError || error instanceof QueueError;

class Play {
  readonly trace: string[] = [];
  deliveries = 0;
  effects = 0;
  readonly happened: Record<string, number> = {};
  readonly #history: History;
  readonly #sabotage: Sabotage;
  readonly #chance: Chance;
  readonly #turns: Turns;
  readonly #tables = new TroubledTables();
  readonly #world: EngineWorld;
  readonly #workers: Worker[] = [];
  readonly #deliveryCounts = new Map<string, number>();
  readonly #bugs: string[] = [];
  readonly #skews = new Map<number, number>();
  readonly #safety: SafetyWatch;
  /** Anchors of accounts. */
  readonly #leftBehind = new Set<string>();
  #tasks: Task[] = [];
  #turnsTaken = 0;
  #troubled = true;
  #processes = 0;
  #stopIsDue = false;
  #rules: readonly Variation[];

  constructor(history: History, sabotage: Sabotage) {
    this.#history = history;
    this.#sabotage = sabotage;
    this.#chance = new Chance(history.seed ^ 0x5f3759df);
    this.#turns = new Turns(this.#chance);
    this.#rules = history.rules;
    this.#world = new EngineWorld({
      configuration: ruleSet(history.rules, history.rulesConnector),
      detectsDuplicates: history.detectsDuplicates,
      tables: this.#tables,
      connector: { pageSize: history.pageSize, exportBatchMax: history.batchSize },
      timings: history.slices === "short" ? { budgetMs: 0 } : {},
      objectsPerMessage: history.objectsPerMessage,
    });
    this.#processes = 1; // the world's own
    this.#safety = new SafetyWatch(this.#world, this.#tables, (bug) => this.#bugs.push(bug));
    this.#prepare();
  }

  #prepare(): void {
    const { guests, accounts } = this.#world;
    guests.counts = this.#history.counts;
    for (const directory of [guests, accounts]) directory.allow("manager", "reference");
    guests.allow("notes", "string");
    accounts.allow("comment", "string");
    this.#world.skewMs = (process) => (this.#troubled ? (this.#skews.get(process) ?? 0) : 0);
    this.#world.sending = (when) => {
      if (this.#may("queue", 0.02)) throw new QueueError(`The queue did not answer (${when}).`);
    };
    this.#world.beforeWrite = (process) => this.#safety.writes(process);
    this.#tables.pageMax = () => (this.#may("pages", 0.1) ? this.#chance.integer(0, 3) : undefined);
    this.#tables.blind = this.#sabotage.blindWrites ?? false;
    this.#tables.trouble = (when) => {
      if (this.#may("store", when === "after" ? 0.002 : 0.004))
        throw new StoreError("unreachable", `The tables did not answer (${when}).`);
      // The client library repeats a request whose answer it has not got, and is told what it has done itself.
      if (when !== "read" && this.#may("conflict", 0.004))
        throw new StoreError("conflict", `The row has changed (${when}).`);
    };
    for (const directory of [guests, accounts]) {
      const fail = (probability: number, trouble: Trouble) => () => {
        if (!this.#may(trouble, probability)) return;
        const kind = this.#chance.happens(0.5) && trouble !== "lostAnswer" ? "throttled" : "unreachable";
        throw new ConnectorError(kind, "The directory did not answer.");
      };
      directory.beforePage = fail(0.05, "directory");
      directory.beforeWrite = fail(0.1, "directory");
      directory.afterWrite = fail(0.15, "lostAnswer");
    }
    const { beforeWrite, afterWrite } = accounts;
    accounts.beforeWrite = (change) => {
      this.#safety.beforeWrite(change);
      beforeWrite(change);
    };
    accounts.afterWrite = (change) => {
      this.#safety.afterWrite();
      afterWrite(change);
    };
  }

  async run(): Promise<readonly string[]> {
    const { guests, accounts, workers, events } = this.#history;
    for (let number = 0; number < guests; number++) {
      const id = this.#world.addGuest(number);
      const kind = accounts[number];
      if (kind !== undefined)
        this.#leftBehind.add(leaveBehind(this.#world, this.#world.guests.objects.get(id)!, kind));
    }
    for (let number = 0; number < workers; number++) this.#workers.push(this.#newWorker());
    this.#world.turn = (process) => this.#turns.wait(process);
    try {
      for (const event of events) {
        this.#world.now += minuteMs;
        await this.#apply(event);
        await this.#deliver(this.#chance.integer(0, 12));
        const wrong = [...twice(this.#world), ...(await this.#safety.overlaps()), ...this.#bugs];
        if (wrong.length > 0) return wrong;
      }
      return await this.#calm();
    } catch (error) {
      return [`${(error as Error).stack}`];
    }
  }

  // ---- what happens --------------------------------------------------------------------------------------------

  async #apply(event: Event): Promise<void> {
    const world = this.#world;
    this.trace.push(JSON.stringify(event));
    switch (event.kind) {
      case "edit":
        this.#safety.edits(event.edit, guestId(event.guest));
        return applyEdit(world, event.edit, event.guest);
      case "rules":
        return this.#changeRules(event.variations, event.broken);
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
      case "staging":
        world.stagingMode = event.on;
        return;
      case "listing": {
        const id = [...world.guests.objects.keys()][event.guest];
        const { forgotten } = world.guests;
        if (id !== undefined && !forgotten.delete(id)) forgotten.add(id);
        return;
      }
      case "forget":
        world[event.directory].honouredFrom = ++world[event.directory].version;
        return;
      case "pass":
        world.now += event.hours * 60 * minuteMs;
        return;
      case "deliver":
        return this.#deliver(event.count);
    }
  }

  /** With the rules connector the files change under running processes; without it a deployment replaces them. */
  #changeRules(variations: readonly Variation[], broken: boolean): void {
    const configuration = ruleSet(variations, this.#history.rulesConnector);
    if (broken) this.#world.ruleFiles = brokenTexts(configuration);
    else {
      this.#rules = variations;
      if (this.#history.rulesConnector) this.#world.ruleFiles = configuration.ruleTexts;
      else this.#deploy();
    }
  }

  #deploy(): void {
    this.#world.configuration = ruleSet(this.#rules, this.#history.rulesConnector);
    // Some go on with what they have begun.
    for (const worker of this.#workers)
      if (!this.#tasks.some((task) => task.worker === worker)) this.#replace(worker);
  }

  /** Somebody asks one of the processes for something; it may die of it, refuse, or not reach its tables. */
  async #ask(what: (worker: Worker) => Promise<unknown>): Promise<void> {
    const worker = this.#free();
    if (worker === undefined) return;
    const task = this.#begin(worker, async (life) => {
      try {
        await what(worker);
        if (life.dead) throw new Crash();
        this.trace.push("asked");
      } catch (error) {
        if (error instanceof Crash) this.#died(worker, life);
        else if (!refusals.has((error as Error).name)) this.#bugs.push(`asked: ${(error as Error).stack}`);
        this.trace.push(`asked: ${(error as Error).name}`);
      }
    });
    await this.#wait(task);
  }

  async #deliver(count: number): Promise<void> {
    const { bus } = this.#world;
    for (let done = 0; done < count; ) {
      if (this.#stopIsDue) {
        this.#stopIsDue = false;
        await this.#apply({ kind: "stop" });
      }
      const active = this.#active();
      const due = bus.waiting.filter(({ at }) => at <= this.#world.now);
      const worker = this.#free();
      const mayBegin = active.length < this.#history.concurrency && worker !== undefined && due.length > 0;
      if (mayBegin && (active.length === 0 || this.#chance.happens(0.3))) {
        done++;
        await this.#deliverOne(worker, due);
      } else if (active.length > 0) await this.#turn();
      else if (this.#thawOne()) continue;
      else if (bus.waiting.length === 0) return;
      else this.#world.now = Math.max(this.#world.now, Math.min(...bus.waiting.map(({ at }) => at)));
    }
  }

  async #deliverOne(worker: Worker, due: EngineWorld["bus"]["waiting"]): Promise<void> {
    const { bus } = this.#world;
    if (++this.deliveries > deliveriesMax) throw new Error(`no rest after ${deliveriesMax} deliveries`);
    if (this.#may("jump", 0.02)) this.#world.now += this.#chance.integer(1, 5) * minuteMs;
    if (this.#chance.happens(0.03)) await this.#watch();
    if (this.#chance.happens(0.3)) this.#thawOne();
    const next = this.#may("delay", 0.3) ? this.#chance.one(due) : due[0]!;
    const index = bus.waiting.indexOf(next);
    if (index < 0) return; // the watchdog's wait has let somebody else have it
    bus.waiting.splice(index, 1);
    if (this.#may("duplicate", 0.1)) {
      const later = this.#chance.happens(0.5) ? this.#chance.integer(1, 300_000) : 0;
      bus.waiting.push({ ...next, at: this.#world.now + later });
    }
    if (this.#may("crash", 0.12)) worker.life.left = Math.min(worker.life.left, this.#chance.integer(1, 60));
    await this.#wait(this.#begin(worker, (life) => this.#receive(worker, life, next.message, next.queue)));
  }

  async #receive(worker: Worker, life: Life, message: StepMessage, queue: string): Promise<void> {
    const { bus } = this.#world;
    const id = messageId(message);
    const again = (why: string): void => {
      this.trace.push(`${id}: ${why}`);
      const count = (this.#deliveryCounts.get(id) ?? 0) + 1;
      this.#deliveryCounts.set(id, count);
      if (count < deliveryCountMax) bus.waiting.unshift({ message, queue, at: 0 });
      else bus.waiting.push({ message, queue: `${queue}/$deadletterqueue`, at: 0 });
    };
    const { engine } = worker;
    await this.#safety.receives(message);
    try {
      const outcome = queue.endsWith("/$deadletterqueue")
        ? await engine.protocol.receiveDeadLetter(message, "delivered too often")
        : await engine.receive(message);
      if (life.dead) throw new Crash();
      if (outcome.endsWith("was taken over.")) this.#count("lease lost");
      this.trace.push(`${id}: ${outcome}`);
    } catch (error) {
      if (error instanceof Crash) {
        this.#died(worker, life);
        again("crashed");
      } else {
        again((error as Error).message);
        // Only tables and queues may fail a message; whatever else is thrown is a bug.
        if (!isOfThePlatform(error)) this.#bugs.push(`${id}: ${(error as Error).stack}`);
      }
    }
  }

  async #watch(): Promise<void> {
    const worker = this.#free();
    if (worker === undefined) return;
    const task = this.#begin(worker, async (life) => {
      try {
        const woken = await worker.engine.protocol.watch();
        if (life.dead) throw new Crash();
        for (const one of woken) this.trace.push(`watchdog: ${one}`);
      } catch (error) {
        if (error instanceof Crash) this.#died(worker, life);
        else if (!isOfThePlatform(error)) this.#bugs.push(`watchdog: ${(error as Error).stack}`);
      }
    });
    await this.#wait(task);
  }

  // ---- processes -----------------------------------------------------------------------------------------------

  #newWorker(): Worker {
    const life = new SharedLife(() => this.#troubled && ++this.effects === this.#history.crashAt);
    const engine = this.#world.newEngine(life);
    this.#sabotage.engine?.(engine);
    const number = this.#processes++;
    if (this.#may("skew", 0.8)) this.#skews.set(number, this.#chance.integer(-skewMaxMs, skewMaxMs));
    return { engine, life, number, frozen: false };
  }

  #replace(worker: Worker): void {
    Object.assign(worker, this.#newWorker());
  }

  /** What else the process was at ends as well, with its next request. */
  #died(worker: Worker, life: Life): void {
    this.#count("death");
    this.#stopIsDue ||= this.#history.crashStops;
    if (worker.life === life) this.#replace(worker);
  }

  #free(): Worker | undefined {
    const free = this.#workers.filter(({ frozen }) => !frozen);
    return free.length === 0 ? undefined : this.#chance.one(free);
  }

  #begin(worker: Worker, work: (life: Life) => Promise<void>): Task {
    const task: Task = { worker, number: worker.number, done: false };
    this.#tasks.push(task);
    void work(worker.life).then(() => {
      task.done = true;
      this.#tasks = this.#tasks.filter((one) => one !== task);
    });
    return task;
  }

  /** Until the task is done or frozen, where one is worked on after another; otherwise it goes on beside others. */
  async #wait(task: Task): Promise<void> {
    if (this.#history.concurrency > 1) return;
    await new Promise(setImmediate);
    while (!task.done && !this.#isFrozen(task)) await this.#turn();
    if (!task.done) this.trace.push("frozen");
  }

  #isFrozen({ worker, number }: Task): boolean {
    return worker.frozen && worker.number === number;
  }

  #active(): Task[] {
    return this.#tasks.filter((task) => !this.#isFrozen(task));
  }

  async #turn(): Promise<void> {
    if (++this.#turnsTaken > turnsMax) throw new Error(`no rest after ${turnsMax} requests`);
    if (this.#may("jump", 0.003)) this.#world.now += this.#chance.integer(5, 50) * 1000;
    if (this.#may("freeze", 0.004)) {
      const active = this.#active();
      if (active.length > 0) this.#chance.one(active).worker.frozen = true;
    }
    const frozen = new Set(this.#workers.filter((worker) => worker.frozen).map(({ number }) => number));
    if ((await this.#turns.next((number) => !frozen.has(number))) === null) await new Promise(setImmediate); // what was begun has not come to its first request
  }

  #thawOne(): boolean {
    const frozen = this.#workers.filter((worker) => worker.frozen);
    if (frozen.length === 0) return false;
    // Long enough that its lease has been taken over, or not.
    if (this.#chance.happens(0.5)) this.#world.now += 100_000;
    this.#chance.one(frozen).frozen = false;
    this.#count("thaw");
    return true;
  }

  #may(trouble: Trouble, probability: number): boolean {
    const happens =
      this.#troubled && this.#history.troubles.includes(trouble) && this.#chance.happens(probability);
    if (happens) this.#count(trouble);
    return happens;
  }

  #count(what: string): void {
    this.happened[what] = (this.happened[what] ?? 0) + 1;
  }

  // ---- the end -------------------------------------------------------------------------------------------------

  /** Work that a stopped run had queued and done already: done again, it changes nothing. */
  #isLeftOver(wrong: string): boolean {
    return this.#history.crashStops && wrong.startsWith("metaverse w|");
  }

  async #calm(): Promise<readonly string[]> {
    const world = this.#world;
    this.#troubled = false;
    for (const worker of this.#workers) worker.frozen = false;
    while (this.#tasks.length > 0) await this.#turn();
    world.turn = () => undefined;
    world.bus.waiting.splice(
      0,
      world.bus.waiting.length,
      ...world.bus.waiting.filter(({ queue }) => !queue.endsWith("/$deadletterqueue")),
    );
    world.guests.forgotten.clear();
    world.stagingMode = false;
    world.configuration = ruleSet(this.#rules, this.#history.rulesConnector);
    world.ruleFiles = null;
    world.restart();
    this.#sabotage.engine?.(world.engine);
    // What was held back by delays of objects is due by then.
    await world.settle();
    let rest = await world.lastRun();
    // New rules are activated in the first round, and used in the next.
    for (let round = this.#history.rulesConnector ? 3 : 2; round > 0; round--) {
      world.now += 24 * 60 * minuteMs;
      rest = await world.cycle(this.#history.calm);
    }
    const counted = this.#history.calm === "initial" ? await wronglyCounted(world, rest) : [];
    world.accounts.writes.length = 0;
    const last = await world.cycle("delta");
    const again = await world.cycle("delta");
    const violations = [
      ...this.#bugs,
      ...twice(world),
      ...(await wrongAtRest(world, this.#rules, this.#leftBehind)).filter(
        (wrong) => !this.#isLeftOver(wrong),
      ),
      ...counted,
      ...(await this.#safety.miscounted()),
    ];
    const statuses = [rest, last, again].map(({ status }) => status);
    if (statuses.some((status) => status !== "success"))
      violations.push(`the last cycles ended with ${statuses.join(", ")}`);
    if (world.accounts.writes.length > 0) violations.push(`not at rest: ${world.accounts.writes.join("; ")}`);
    this.trace.push(...ending(world));
    return violations;
  }
}
