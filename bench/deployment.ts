/** The real engine with the guest recipe over any tables, its steps run and measured one by one. */
import { loadConfiguration } from "../src/engine/configuration/loadConfiguration.ts";
import type { Configuration, SettingsSchema } from "../src/engine/core/configuration.ts";
import { Engine } from "../src/engine/engine.ts";
import type { StepMessage } from "../src/engine/ports/bus.ts";
import type { Tables } from "../src/engine/ports/tables.ts";
import { defaultTimings } from "../src/engine/runs/protocol.ts";
import { Accounts, Guests, guestOu } from "./directories.ts";
import { MeteredTables, type Requests } from "./tables.ts";

const anySettings: SettingsSchema = { safeParse: (data) => ({ success: true, data }) };

/** As it is delivered, without limits: whoever measures wants it all at once. */
export function recipe(): Configuration {
  const settings = {
    AD_URL: "ldaps://dc1.corp.example",
    AD_BIND_DN: "svc@corp.example",
    AD_BIND_PASSWORD: "none",
    AD_BASE_DN: "DC=corp,DC=example",
    GUEST_OU: guestOu,
  };
  const kinds = ["graph", "ad", "rules"].map((kind) => [kind, anySettings] as const);
  return loadConfiguration("config", settings, new Map(kinds));
}

export interface StepMeasure {
  /** By the clock. */
  readonly ms: number;
  /** Processor time of this process. */
  readonly cpuMs: number;
  readonly requests: Requests;
  readonly messages: number;
}

/** How many messages one instance works on side by side: `maxConcurrentCalls` of host.json. */
const messagesAtOnce = 4;

export class Deployment {
  readonly tables: MeteredTables;
  readonly guests: Guests;
  readonly accounts = new Accounts();
  readonly engine: Engine;
  readonly #stagingMode: boolean;
  #waiting: StepMessage[] = [];
  #sent = 0;
  #ids = 0;

  /** @param options `stagingMode`: nothing is exported */
  constructor(tables: Tables, guests: number, { latencyMs = 0, stagingMode = false } = {}) {
    this.tables = new MeteredTables(tables, latencyMs);
    this.#stagingMode = stagingMode;
    this.guests = new Guests(guests);
    this.engine = this.newEngine();
  }

  /** Another process over the same tables and directories. */
  newEngine(): Engine {
    return new Engine({
      tables: this.tables,
      bus: {
        send: async (_queue, message) => {
          this.#sent++;
          this.#waiting.push(message);
        },
      },
      pingBus: async () => undefined,
      clock: { now: () => Date.now() },
      random: () => 0.5,
      randomHex: (digits) => (++this.#ids).toString(16).padStart(digits, "0").slice(-digits),
      configuration: recipe(),
      openConnector: ({ name }) => (name === "AADMA" ? this.guests : this.accounts),
      stagingMode: () => this.#stagingMode,
      timings: defaultTimings,
      log: () => undefined,
    });
  }

  profile(connector: string, name: string): Promise<StepMeasure> {
    return this.#measured(() => this.engine.startProfile(connector, name, "cli"));
  }

  cycle(name: "initial" | "delta"): Promise<StepMeasure> {
    return this.#measured(() => this.engine.startCycle(name, "http"));
  }

  /** The cycle that the timer starts. */
  timer(): Promise<StepMeasure> {
    return this.#measured(() => this.engine.onTimer());
  }

  /** Works on the messages that wait, until none is left. @param engines take them side by side */
  async work(engines = Array<Engine>(messagesAtOnce).fill(this.engine)): Promise<void> {
    let busy = 0;
    await Promise.all(
      engines.map(async (engine) => {
        while (this.#waiting.length > 0 || busy > 0) {
          const message = this.#waiting.shift();
          if (message === undefined) {
            await new Promise((resolve) => setTimeout(resolve, 1));
            continue;
          }
          busy++;
          await engine.receive(message);
          busy--;
        }
      }),
    );
  }

  /** Starts a profile and works until only messages of its second phase are left. @returns how many */
  async upToFlowing(connector: string, name: string): Promise<number> {
    await this.engine.startProfile(connector, name, "cli");
    while (this.#waiting.every(({ shard }) => shard === "main"))
      await this.engine.receive(this.#waiting.shift()!);
    return this.#waiting.length;
  }

  async #measured(start: () => Promise<unknown>): Promise<StepMeasure> {
    this.tables.take();
    this.#sent = 0;
    const begun = performance.now();
    const cpu = process.cpuUsage();
    await start();
    await this.work();
    const { user, system } = process.cpuUsage(cpu);
    const measure = {
      ms: performance.now() - begun,
      cpuMs: (user + system) / 1000,
      requests: this.tables.take(),
      messages: this.#sent,
    };
    const [run] = (await this.engine.runs.page(1)).runs;
    this.tables.take();
    if (run?.status !== "success")
      throw new Error(`A run ended with ${run?.status}: ${run?.steps.map(({ detail }) => detail).join(" ")}`);
    return measure;
  }
}
