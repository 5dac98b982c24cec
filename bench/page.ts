/** `bench/results/README.md`: the kept results as tables, and plotted against the number of objects. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Comparison, cellsOf } from "./comparisons.ts";
import type { StepResult } from "./engine.ts";
import type { MemoryResult } from "./memory.ts";
import { keptResults, type Results, resultsFolder } from "./results.ts";
import { requestsOf } from "./tables.ts";
import type { WorkersResult } from "./workers.ts";

export async function run(): Promise<void> {
  const kept = keptResults();
  const of = <T>(bench: string) => kept.get(bench) as Results<readonly T[]> | undefined;
  const sections = [
    engineSection(of<StepResult>("engine")),
    memorySection(of<MemoryResult>("memory")),
    workersSection(of<WorkersResult>("workers")),
    ...connectorParts.map(([part, title]) => connectorSection(title, of<Comparison>(`connectors-${part}`))),
  ].filter((section) => section !== null);
  const text = `# Results

Written by \`npm run bench -- page\` from the JSON files beside it. What each bench does and asks: [bench/README.md](../README.md).

${sections.join("\n")}`;
  writeFileSync(join(resultsFolder, "README.md"), text);
  console.log("bench/results/README.md is written.");
}

function machineLine({ measuredAt, machine }: Results<unknown>): string {
  const { cpu, cores, memoryGiB, system, node, load } = machine;
  return `Measured ${measuredAt.slice(0, 16).replace("T", " ")} UTC on ${cores} × ${cpu}, ${memoryGiB} GiB, ${system}, Node.js ${node}; load ${load} at the end.\n`;
}

function engineSection(results: Results<readonly StepResult[]> | undefined): string | null {
  if (results === undefined) return null;
  const steps = results.results;
  const names = [...new Set(steps.map(({ step }) => step))];
  const rows = steps.map((one) => [
    one.step,
    one.store,
    one.objects.toLocaleString("en"),
    one.ms.toFixed(0),
    one.cpuMs.toFixed(0),
    one.ratio?.toFixed(2) ?? "",
    requestsOf(one.requests).toLocaleString("en"),
    (requestsOf(one.requests) / one.objects).toFixed(4),
    String(one.messages),
    (one.requests.bytesRead / 1e6).toFixed(1),
    (one.requests.bytesWritten / 1e6).toFixed(1),
  ]);
  const memory = steps.filter(({ store }) => store === "memory");
  const requests = names.map((name) => ({
    name,
    points: pointsOf(memory, name, (one) => requestsOf(one.requests)),
  }));
  const times = names.map((name) => ({ name, points: pointsOf(memory, name, (one) => one.cpuMs) }));
  writeFileSync(join(resultsFolder, "requests.svg"), plot("Requests to the tables", requests));
  writeFileSync(
    join(resultsFolder, "processor.svg"),
    plot("Milliseconds of processor time, tables in memory", times),
  );
  return `## Steps of the engine

${machineLine(results)}
![Requests against objects](requests.svg)
![Processor time against objects](processor.svg)

| step | store | objects | ms | processor ms | × floor | requests | an object | messages | MB read | MB written |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|
${rows.map((row) => `| ${row.join(" | ")} |`).join("\n")}
`;
}

function memorySection(results: Results<readonly MemoryResult[]> | undefined): string | null {
  if (results === undefined) return null;
  return `## Memory of a worker

${machineLine(results)}
| objects | peak of the resident set, MiB |
|--:|--:|
${results.results.map(({ objects, peakMiB }) => `| ${objects.toLocaleString("en")} | ${peakMiB.toFixed(0)} |`).join("\n")}
`;
}

function workersSection(results: Results<readonly WorkersResult[]> | undefined): string | null {
  const alone = results?.results[0];
  if (results === undefined || alone === undefined) return null;
  return `## Workers in the flowing phase

${alone.objects.toLocaleString("en")} new objects, 10 ms a request. ${machineLine(results)}
| workers | ms | times as fast |
|--:|--:|--:|
${results.results.map(({ workers, ms }) => `| ${workers} | ${ms.toFixed(0)} | ${(alone.ms / ms).toFixed(2)} |`).join("\n")}
`;
}

const connectorParts = [
  ["graph", "Connectors: import from Graph"],
  ["import", "Connectors: import from Active Directory (Samba)"],
  ["export", "Connectors: new accounts in Active Directory (Samba)"],
  ["memory", "Connectors: memory of an import"],
] as const;

function connectorSection(title: string, results: Results<readonly Comparison[]> | undefined): string | null {
  if (results === undefined) return null;
  const rows = results.results.map((one) => `| ${[...cellsOf(one), one.rounds.length].join(" | ")} |`);
  return `## ${title}

${machineLine(results)}
| | compared with | median | measured | median | median of the ratios | goal | rounds |
|---|---|--:|---|--:|--:|---|--:|
${rows.join("\n")}
`;
}

interface Point {
  readonly objects: number;
  readonly value: number;
}

function pointsOf(
  steps: readonly StepResult[],
  name: string,
  value: (step: StepResult) => number,
): readonly Point[] {
  return steps
    .filter(({ step }) => step === name)
    .map((one) => ({ objects: one.objects, value: value(one) }));
}

const size = { width: 860, height: 420, left: 70, right: 300, top: 40, bottom: 40 } as const;
const colours = [
  "#1b6ca8",
  "#c2511b",
  "#3d8b37",
  "#8a3ca8",
  "#b08900",
  "#0e8f8f",
  "#a81b4d",
  "#5b5b5b",
  "#274690",
];

/** Both axes logarithmic; a grid line for each power of ten. */
function plot(
  title: string,
  lines: readonly { readonly name: string; readonly points: readonly Point[] }[],
): string {
  const { width, height, left, right, top, bottom } = size;
  const all = lines.flatMap(({ points }) => points);
  const powers = (values: readonly number[]) => {
    const logs = values.map((value) => Math.log10(Math.max(1, value)));
    return {
      from: Math.floor(Math.min(...logs)),
      to: Math.max(Math.ceil(Math.max(...logs)), Math.floor(Math.min(...logs)) + 1),
    };
  };
  const x = powers(all.map(({ objects }) => objects));
  const y = powers(all.map(({ value }) => value));
  const place = (value: number, range: { from: number; to: number }, start: number, end: number) =>
    start + ((Math.log10(Math.max(1, value)) - range.from) / (range.to - range.from)) * (end - start);
  const atX = (objects: number) => place(objects, x, left, width - right).toFixed(1);
  const atY = (value: number) => place(value, y, height - bottom, top).toFixed(1);
  const marks = (range: { from: number; to: number }) =>
    Array.from({ length: range.to - range.from + 1 }, (_, index) => 10 ** (range.from + index));
  const grid = [
    ...marks(x).map(
      (value) =>
        `<path d="M${atX(value)} ${top}V${height - bottom}" stroke="#ddd"/><text x="${atX(value)}" y="${height - bottom + 18}" text-anchor="middle">${value.toLocaleString("en")}</text>`,
    ),
    ...marks(y).map(
      (value) =>
        `<path d="M${left} ${atY(value)}H${width - right}" stroke="#ddd"/><text x="${left - 8}" y="${Number(atY(value)) + 4}" text-anchor="end">${value.toLocaleString("en")}</text>`,
    ),
  ];
  const drawn = lines.map(({ name, points }, index) => {
    const colour = colours[index % colours.length];
    const path = points.map(({ objects, value }) => `${atX(objects)},${atY(value)}`).join(" ");
    const dots = points.map(
      ({ objects, value }) => `<circle cx="${atX(objects)}" cy="${atY(value)}" r="3" fill="${colour}"/>`,
    );
    const legend = `<text x="${width - right + 20}" y="${top + 10 + index * 20}" fill="${colour}">${name}</text>`;
    return `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"/>${dots.join("")}${legend}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12"><title>${title}, against the number of objects</title>
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="${left}" y="22" font-size="15">${title}, against the number of objects</text>
${[...grid, ...drawn].join("\n")}
</svg>
`;
}
