/**
 * Export of new accounts into Samba against ldapadd with the same entries, each into a domain that is put back to what it
 * was before; and both over a way with latency, where what is in flight counts.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SambaServer } from "../sandbox/samba/samba.ts";
import type { Size } from "./connectors.ts";
import { median, table } from "./measure.ts";
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
  readonly name: string;
  readonly count: number;
  readonly latencyMs: number;
  readonly withPassword: boolean;
}

const guests = 262_656;
const disabled = 514;

export async function run(size: Size): Promise<void> {
  const few = size === "quick";
  const rounds = few ? 1 : 5;
  const cases: readonly Case[] = [
    {
      name: "as guests get them, with a password",
      count: few ? 100 : 2000,
      latencyMs: 0,
      withPassword: true,
    },
    { name: "disabled, without a password", count: few ? 200 : 2000, latencyMs: 0, withPassword: false },
    { name: "with a password, 40 ms latency", count: few ? 64 : 256, latencyMs: 40, withPassword: true },
    { name: "without a password, 40 ms latency", count: few ? 64 : 256, latencyMs: 40, withPassword: false },
  ];
  const samba = await openDomain("bench-export", "tdb");
  const folder = await mkdtemp(join(tmpdir(), "bench-export-"));
  try {
    const rows = [[`new accounts into Samba, median of ${rounds}`, "ldapadd/s", "connector/s", "ratio"]];
    for (const one of cases) {
      const pairs: (readonly [number, number])[] = [];
      for (let round = 0; round < rounds; round++) {
        pairs.push(await measured(samba, one, join(folder, "accounts.ldif"), round % 2 === 0));
      }
      const perSecond = (which: 0 | 1) => (one.count * 1000) / median(pairs.map((pair) => pair[which]));
      const ratio = median(pairs.map(([program, connector]) => program / connector));
      rows.push([
        `${one.count} ${one.name}`,
        perSecond(0).toFixed(1),
        perSecond(1).toFixed(1),
        ratio.toFixed(2),
      ]);
    }
    console.log(table(rows));
  } finally {
    await samba.stop();
    await rm(folder, { recursive: true });
  }
}

/** Milliseconds of ldapadd and of the connector. */
async function measured(
  samba: SambaServer,
  { count, latencyMs, withPassword }: Case,
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
