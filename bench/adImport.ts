/** Full import from Samba against ldapsearch with the same pages and attributes. */
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SambaServer } from "../sandbox/samba/samba.ts";
import { Comparisons, type Pair } from "./comparisons.ts";
import type { Size } from "./connectors.ts";
import { accounts, connectTo, guestAttributes, openDomain, timedProgram, writeLdif } from "./sambaDomain.ts";

/** As the connector asks for by itself. */
const pageSize = 500;

export async function run(size: Size): Promise<void> {
  const [count, rounds] = size === "quick" ? [1000, 1] : [20_000, 5];
  const samba = await openDomain(`bench-import-${count}`, "mdb");
  try {
    await populate(samba, count);
    const connector = connectTo(samba, { pageSize });
    const program = () =>
      timedProgram("ldapsearch", samba, samba.url, [
        ...["-LLL", "-o", "ldif-wrap=no", "-b", samba.guestOu, "-E", `pr=${pageSize}/noprompt`],
        ...["(objectClass=user)", "objectClass", "objectGUID", "isDeleted", "cn", ...guestAttributes],
      ]);
    const pairs: Pair[] = [];
    for (let round = -1; round < rounds; round++) {
      const searched = await program();
      const imported = await timedImport(connector, count);
      if (round >= 0) pairs.push([searched, imported]); // the first has warmed both up
    }
    await connector.close();
    const comparisons = new Comparisons("import", size);
    comparisons.add({
      name: `${count} accounts, pages of ${pageSize}`,
      unit: "ms",
      base: "ldapsearch",
      ours: "full import",
      rounds: pairs,
      goal: { atMost: 1.3 },
    });
    comparisons.print();
  } finally {
    await samba.stop();
  }
}

async function timedImport(connector: ReturnType<typeof connectTo>, count: number): Promise<number> {
  const begun = performance.now();
  const found = await importAll(connector);
  if (found !== count) throw new Error(`${found} accounts in place of ${count}.`);
  return performance.now() - begun;
}

async function importAll(connector: ReturnType<typeof connectTo>): Promise<number> {
  let found = 0;
  for await (const { entries } of connector.importPages({ kind: "full" }, { log: () => undefined })) {
    for (const { kind } of entries) if (kind === "object") found++;
  }
  return found;
}

/** So many in a transaction of the database: with more of them each takes longer and longer. */
const madeAtOnce = 500;

/** The accounts are made once, straight into the database, and stay in .test for later runs. */
async function populate(samba: SambaServer, count: number): Promise<void> {
  const connector = connectTo(samba);
  const there = await importAll(connector);
  await connector.close();
  if (there === count) return;
  console.log(`making ${count - there} accounts, once`);
  const folder = await mkdtemp(join(tmpdir(), "bench-import-"));
  try {
    const file = join(folder, "accounts.ldif");
    const made = accounts(samba, count - there, 514);
    for (let at = 0; at < made.length; at += madeAtOnce) {
      await writeLdif(file, made.slice(at, at + madeAtOnce), false);
      await addToDatabase(samba, file);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

async function addToDatabase(samba: SambaServer, file: string): Promise<void> {
  const database = join(samba.ldapiPath, "..", "..", "sam.ldb");
  const child = spawn("ldbadd", ["-H", database, file], { stdio: ["ignore", "ignore", "inherit"] });
  const code = await new Promise((ended) => child.once("exit", ended));
  if (code !== 0) throw new Error(`ldbadd ended with ${code}`);
}
