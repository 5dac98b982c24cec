/**
 * Peak memory of a full import of ten times as many objects, each in a process of its own: pages are staged and
 * forgotten, so what is needed should not grow. What is resident grows nevertheless for a while, because the collector
 * leaves garbage where it is as long as there is memory; so it is measured twice, as Node.js comes, and with the collector
 * told to prefer memory to speed (V8's --optimize-for-size), which shows what is needed.
 */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { startChild } from "../sandbox/child.ts";
import type { DirectoryReady } from "../sandbox/directory/process.ts";
import { AdClient } from "../src/engine/connectors/ad/adClient.ts";
import { inParallel } from "../src/engine/connectors/inParallel.ts";
import { Comparisons, type Pair } from "./comparisons.ts";
import type { Size } from "./connectors.ts";
import { type GraphReady, guestProperties } from "./graphImport.ts";
import type { Probe, Probed } from "./importProbe.ts";

const adAttributes = ["cn", "sAMAccountName", "userPrincipalName", "displayName", "mail", "adminDescription"];

const collectors = {
  "as it comes": [],
  "collecting early": ["--optimize-for-size"],
} as const;

export async function run(size: Size): Promise<void> {
  const populations: Populations = size === "quick" ? [1_000, 10_000] : [10_000, 100_000];
  const rounds = size === "quick" ? 1 : 5;
  const comparisons = new Comparisons("memory", size);
  for (const [name, withProbes] of [
    ["graph", withTenants],
    ["ad", withDirectory],
  ] as const) {
    await withProbes(populations, async (few, many) => {
      for (const [collector, flags] of Object.entries(collectors)) {
        const peaks: Pair[] = [];
        for (let round = 0; round < rounds; round++) {
          const peak = await peakOf(few, populations[0], flags);
          peaks.push([peak, await peakOf(many, populations[1], flags)]);
        }
        comparisons.add({
          name: `${name}, ${collector}`,
          unit: "MiB",
          base: `peak with ${populations[0]} objects`,
          ours: `with ${populations[1]}`,
          rounds: peaks,
          ...(flags.length === 0 ? { goal: { atMost: 1.2 } } : {}),
        });
      }
    });
  }
  comparisons.print();
}

type Populations = readonly [number, number];
type Measure = (few: Probe, many: Probe) => Promise<void>;

/** In MiB. */
async function peakOf(probe: Probe, count: number, flags: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [...flags, join(import.meta.dirname, "importProbe.ts")], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.end(JSON.stringify(probe));
  const { objects, peakBytes } = JSON.parse(await text(child.stdout)) as Probed;
  if (objects !== count) throw new Error(`${objects} objects in place of ${count}.`);
  return peakBytes / 2 ** 20;
}

async function withTenants(populations: Populations, measure: Measure): Promise<void> {
  const folders: string[] = [];
  const tenants = [];
  try {
    for (const guests of populations) {
      const folder = await mkdtemp(join(tmpdir(), "bench-graph-"));
      folders.push(folder);
      tenants.push(
        await startChild<GraphReady>({
          name: "Graph sandbox",
          file: join(import.meta.dirname, "../sandbox/graph/main.ts"),
          args: ["--data", folder, "--guests", String(guests), "--members", "100", "--exit-with-parent"],
        }),
      );
    }
    const [few, many] = tenants.map(({ ready: { url, ca, token } }): Probe => {
      const settings = { baseUrl: url, caCertificate: ca, accessToken: token };
      return { kind: "graph", settings, attributes: guestProperties };
    });
    await measure(few!, many!);
  } finally {
    for (const tenant of tenants) await tenant.stop(5_000);
    for (const folder of folders) await rm(folder, { recursive: true });
  }
}

/** Both populations in one directory, each in a unit of its own. */
async function withDirectory(populations: Populations, measure: Measure): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "bench-directory-"));
  const directory = await startChild<DirectoryReady>({
    name: "directory sandbox",
    file: join(import.meta.dirname, "../sandbox/directory/main.ts"),
    args: ["--data", folder, "--exit-with-parent"],
  });
  try {
    const { url, ca, serverName, baseDn, guestOu, bindDn, bindPasswordFile } = directory.ready;
    const bindPassword = await readFile(bindPasswordFile, "utf8");
    const authority = await readFile(ca, "utf8");
    const client = new AdClient({
      target: { url, connectTimeoutMs: 10_000, tls: { ca: authority, servername: serverName } },
      bindDn: `CN=Administrator,CN=Users,${baseDn}`,
      bindPassword: (await readFile(join(folder, "administrator"), "utf8")).trim(),
      operationTimeoutMs: 60_000,
    });
    const probes: Probe[] = [];
    for (const count of populations) {
      const unit = `OU=${count},${guestOu}`;
      await client.add(unit, [{ name: "objectClass", values: [Buffer.from("organizationalUnit")] }]);
      await inParallel(32, [...Array(count).keys()], (index) => client.add(...account(unit, index)));
      probes.push({
        kind: "ad",
        attributes: adAttributes,
        settings: { url, bindDn, bindPassword, caCertificate: ca, serverName, baseDn, containers: [unit] },
      });
    }
    await client.close();
    await measure(probes[0]!, probes[1]!);
  } finally {
    await directory.stop(5_000);
    await rm(folder, { recursive: true });
  }
}

function account(unit: string, index: number): Parameters<AdClient["add"]> {
  const id = `${unit.slice(3, 9).replace(",", "")}x${index}`;
  const values = {
    objectClass: "user",
    sAMAccountName: id,
    userPrincipalName: `${id}_fabrikam.com#EXT#@contoso.onmicrosoft.com`,
    displayName: `Guest ${index}`,
    mail: `${id}@fabrikam.com`,
    adminDescription: `User_${id}`,
    userAccountControl: "514",
  };
  return [
    `CN=${id},${unit}`,
    Object.entries(values).map(([name, value]) => ({ name, values: [Buffer.from(value)] })),
  ];
}
