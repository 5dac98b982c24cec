import { type Bus, messageId, type StepMessage } from "../../src/engine/ports/bus.ts";
import { defaultTimings, RunProtocol } from "../../src/engine/runs/protocol.ts";
import type { Slice, SliceOutcome, StepHandler } from "../../src/engine/runs/stepHandler.ts";
import { MemoryTables } from "../../src/engine/stores/memory/memoryTables.ts";
import { CheckpointStore, HistoryStore, RunStore } from "../../src/engine/stores/runs.ts";

/** A queue in memory. With a duplicate detection window it drops a message id that it has had before, as Azure does. */
export class MemoryBus implements Bus {
  readonly waiting: { message: StepMessage; at: number; queue: string }[] = [];
  readonly sent: string[] = [];
  readonly #seen = new Set<string>();
  readonly #detectsDuplicates: boolean;

  constructor(detectsDuplicates: boolean) {
    this.#detectsDuplicates = detectsDuplicates;
  }

  async send(queue: string, message: StepMessage, at?: Date): Promise<void> {
    const id = messageId(message);
    this.sent.push(id);
    if (this.#detectsDuplicates && this.#seen.has(id)) return;
    this.#seen.add(id);
    this.waiting.push({ message, queue, at: at?.getTime() ?? 0 });
  }
}

/** A process died here: nothing after this point happened. */
export class Crash extends Error {}

/** One deployment in memory whose clock stands still until it is moved. */
export class RunWorld {
  now = Date.parse("2026-01-01T00:00:00Z");
  readonly tables = new MemoryTables();
  readonly bus: MemoryBus;
  readonly runs = new RunStore(this.tables);
  readonly checkpoints = new CheckpointStore(this.tables);
  readonly history = new HistoryStore(this.tables);
  readonly protocol: RunProtocol;
  readonly queued: string[] = [];
  /** What each slice of work does; set by the test. */
  work: (slice: Slice) => Promise<SliceOutcome> = async () => ({ kind: "done", status: "success" });
  #ids = 0;

  constructor(detectsDuplicates = true) {
    this.bus = new MemoryBus(detectsDuplicates);
    const handler: StepHandler = { work: (slice) => this.work(slice), counted: async () => ({}) };
    this.protocol = new RunProtocol({
      tables: this.tables,
      runs: this.runs,
      checkpoints: this.checkpoints,
      history: this.history,
      bus: this.bus,
      clock: { now: () => this.now },
      randomHex: (digits) => String(++this.#ids).padStart(digits, "0"),
      timings: defaultTimings,
      handlers: {
        fullImport: handler,
        deltaImport: handler,
        fullSync: handler,
        deltaSync: handler,
        export: handler,
        rulesDiff: handler,
        rulesEffects: handler,
      },
      startQueued: async (cycle) => {
        this.queued.push(cycle);
      },
      log: () => undefined,
    });
  }

  /** Delivers the next due message. @returns what the protocol said; null when none is due. */
  async deliver(): Promise<string | null> {
    const index = this.bus.waiting.findIndex(({ at }) => at <= this.now);
    if (index < 0) return null;
    const [next] = this.bus.waiting.splice(index, 1);
    return this.receive(next!.message);
  }

  /** A crash leaves the message to be delivered again; anything else settles it. */
  async receive(message: StepMessage): Promise<string> {
    try {
      return await this.protocol.receive(message);
    } catch (error) {
      if (!(error instanceof Crash)) throw error;
      this.bus.waiting.unshift({ message, queue: "", at: 0 });
      return "crashed";
    }
  }

  /** Delivers until nothing is left, moving the clock to what is scheduled. */
  async quiet(limit = 200): Promise<string[]> {
    const said: string[] = [];
    for (let i = 0; i < limit; i++) {
      const outcome = await this.deliver();
      if (outcome !== null) said.push(outcome);
      else if (this.bus.waiting.length === 0) return said;
      else this.now = Math.min(...this.bus.waiting.map(({ at }) => at));
    }
    throw new Error(`not quiet after ${limit} messages: ${said.slice(-5).join("; ")}`);
  }
}
