/**
 * Export of new accounts into Samba against ldapadd with the same entries, each into a domain that is put back to what it
 * was before; and both over a way with latency, where what is in flight counts.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SambaServer } from "../sandbox/samba/samba.ts";
import { type Comparison, Comparisons, type Pair } from "./comparisons.ts";
import type { Size } from "./connectors.ts";
import {
  accounts,
  connectTo,
  openDomain,
  slowWay,
  timedProgram,
  toChange,
  writeLdif,
} from "./sambaDomain.ts";

interface Case {
  readonly what: string;
  readonly count: number;
  readonly latencyMs: number;
  readonly withPassword?: boolean;
  readonly goal: NonNullable<Comparison["goal"]>;
}

const guests = 262_656;
const disabled = 514;

export async function run(size: Size): Promise<void> {
  const few = size === "quick";
  const rounds = few ? 1 : 5;
  const hidden = { atLeast: 5 };
  const local = { atLeast: 0.95 };
  // What is done soon first: with a password the server takes some 30 ms for an account, whoever asks.
  const cases: readonly Case[] = [
    { what: "without a password, 40 ms latency", count: few ? 64 : 512, latencyMs: 40, goal: hidden },
    { what: "without a password", count: few ? 200 : 2000, latencyMs: 0, goal: local },
    {
      what: "with a password, 40 ms latency",
      count: few ? 64 : 128,
      latencyMs: 40,
      withPassword: true,
      goal: hidden,
    },
    {
      what: "as guests get them, with a password",
      count: few ? 100 : 2000,
      latencyMs: 0,
      withPassword: true,
      goal: local,
    },
  ];
  const samba = await openDomain("bench-export", "tdb");
  const folder = await mkdtemp(join(tmpdir(), "bench-export-"));
  try {
    const comparisons = new Comparisons("export", size);
    for (const one of cases) {
      const pairs: Pair[] = [];
      for (let round = 0; round < rounds; round++) {
        const times = await measured(samba, one, join(folder, "accounts.ldif"), round % 2 === 0);
        const [program, connector] = times.map((ms) => (one.count * 1000) / ms);
        pairs.push([program!, connector!]);
      }
      comparisons.add({
        name: `${one.count} ${one.what}`,
        unit: "objects/s",
        base: "ldapadd",
        ours: "connector",
        rounds: pairs,
        goal: one.goal,
      });
    }
    comparisons.print();
  } finally {
    await samba.stop();
    await rm(folder, { recursive: true });
  }
}

/** Milliseconds of ldapadd and of the connector. */
async function measured(
  samba: SambaServer,
  { count, latencyMs, withPassword = false }: Case,
  file: string,
  programFirst: boolean,
): Promise<readonly [number, number]> {
  const made = accounts(samba, count, withPassword ? guests : disabled);
  await writeLdif(file, made, withPassword);
  const way = latencyMs === 0 ? undefined : await slowWay(samba, latencyMs);
  const url = way?.url ?? samba.url;
  const byProgram = async () => {
    await samba.reset();
    return timedProgram("ldapadd", samba, url, ["-f", file]);
  };
  const byConnector = async () => {
    await samba.reset();
    const connector = connectTo(samba, { url, randomPassword: withPassword });
    await connector.schema(); // connected, as it is after the import before an export
    const begun = performance.now();
    const { exportBatchMax } = connector.capabilities;
    for (let at = 0; at < made.length; at += exportBatchMax) {
      const batch = made.slice(at, at + exportBatchMax).map(toChange);
      const results = await connector.exportBatch(batch, { log: () => undefined });
      const refused = results.find(({ kind }) => kind === "failed");
      if (refused !== undefined) throw new Error(JSON.stringify(refused));
    }
    const took = performance.now() - begun;
    await connector.close();
    return took;
  };
  try {
    if (programFirst) {
      const program = await byProgram();
      return [program, await byConnector()];
    }
    const connector = await byConnector();
    return [await byProgram(), connector];
  } finally {
    await way?.close();
  }
}
