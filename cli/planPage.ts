/** An export plan as one HTML file: nothing is loaded from elsewhere, and no value can be more than text in it. */
import { createHash } from "node:crypto";
import { valueText } from "./describe.ts";
import { describeHold } from "./describeHistory.ts";
import { countsText, type PlanItem, type ShownPlan } from "./exportPlan.ts";
import { instant } from "./print.ts";

const style = `
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 1.5rem auto; max-width: 90rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
code, td.values { font-family: ui-monospace, monospace; font-size: .87rem; overflow-wrap: anywhere; }
.held { color: #b3261e; font-weight: 600; }
form { display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center; margin: 1rem 0; }
input[type=search] { flex: 1 1 16rem; padding: .4rem; font: inherit; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; position: sticky; top: 0; background: Canvas; border-bottom: 2px solid; padding: .2rem .5rem; }
th button { font: inherit; font-weight: 600; background: none; border: 0; padding: .2rem 0; cursor: pointer; }
th[aria-sort=ascending] button::after { content: " ▲"; } th[aria-sort=descending] button::after { content: " ▼"; }
td { vertical-align: top; padding: .35rem .5rem; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }
td.change { font-weight: 600; white-space: nowrap; }
tr.delete td.change, tr.disable td.change { color: #b3261e; }
tr.add td.change, tr.adopt td.change, tr.enable td.change { color: #1b7f3b; }
ul { list-style: none; margin: 0; padding: 0; } li + li { margin-top: .15rem; }
del { color: #b3261e; text-decoration-thickness: 1px; } ins { color: #1b7f3b; text-decoration: none; }
.rule, .reason, .anchor { opacity: .75; font-size: .85rem; }
.odd { outline: 1px solid #b3261e; font-size: .75em; }
@media (prefers-color-scheme: dark) {
  .held, tr.delete td.change, tr.disable td.change, del { color: #ff8a80; }
  ins, tr.add td.change, tr.adopt td.change, tr.enable td.change { color: #7bd88f; }
}
@media print { form { display: none; } th { position: static; } }
`;

/** Sorts and filters the rows that are there; without it the page is as readable. */
const script = `
const body = document.querySelector("tbody");
const rows = [...body.rows];
const search = document.querySelector("input[type=search]");
const kinds = [...document.querySelectorAll("input[name=kind]")];
const shown = document.querySelector("output");
const filter = () => {
  const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  const wanted = new Set(kinds.filter((one) => one.checked).map((one) => one.value));
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !(wanted.has(row.className) && words.every((word) => text.includes(word)));
    if (!row.hidden) count++;
  }
  shown.textContent = count + " of " + rows.length + " changes";
};
search.addEventListener("input", filter);
for (const one of kinds) one.addEventListener("change", filter);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
const heads = [...document.querySelectorAll("th")];
heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of heads) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = (row) => row.cells[column].textContent;
  const compare = new Intl.Collator(undefined, { numeric: true }).compare;
  body.append(...rows.toSorted((a, b) => (down ? -1 : 1) * compare(key(a), key(b))));
}));
filter();
`;

const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

export function planPage({ plan, held }: ShownPlan): string {
  const { connector, hash, state, createdAt, expiresAt, counts, items, onHold } = plan;
  const kinds = Object.entries(counts).filter(([, count]) => count > 0);
  const policy = `default-src 'none'; style-src ${hashOf(style)}; script-src ${hashOf(script)}`;
  const facts: readonly (readonly [string, string])[] = [
    ["State", state === "held" ? `<span class="held">held</span>` : escaped(state)],
    ...(held === null
      ? []
      : [
          [
            "Held because",
            `${escaped(held.detail)} (run ${escaped(held.runId)}, ${instant(held.since)})`,
          ] as const,
        ]),
    ["Changes", escaped(countsText(plan)) || "none"],
    ["Made", instant(createdAt)],
    ...(expiresAt === null ? [] : [["Can be approved until", instant(expiresAt)] as const]),
    ["Hash", `<code>${escaped(hash)}</code>`],
    ...onHold.map(
      ({ change, dn, hold }) =>
        [
          "No part of it",
          `${escaped(change)} <bdi>${escaped(dn)}</bdi>: ${escaped(describeHold(hold))}`,
        ] as const,
    ),
    ...(items.length === 0
      ? []
      : [
          [
            "To export exactly this",
            `<code>vestibule approve ${escaped(connector)} ${escaped(hash)} --why "…"</code>`,
          ] as const,
        ]),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>Export plan of ${escaped(connector)}</title>
<style>${style}</style>
</head>
<body>
<h1>Export plan of ${escaped(connector)}</h1>
<dl>
${facts.map(([name, value]) => `<dt>${name}</dt><dd>${value}</dd>`).join("\n")}
</dl>
<form>
<input type="search" placeholder="Filter by name, attribute, value, rule …" aria-label="Filter">
${kinds.map(([kind, count]) => `<label><input type="checkbox" name="kind" value="${escaped(kind)}" checked> ${escaped(kind)} (${count})</label>`).join("\n")}
<output></output>
</form>
<table>
<thead><tr>${["Change", "Object", "Attributes", "Reason"].map((title) => `<th scope="col"><button type="button">${title}</button></th>`).join("")}</tr></thead>
<tbody>
${items.map(row).join("\n")}
</tbody>
</table>
<script>${script}</script>
</body>
</html>
`;
}

function row({ change, dn, newDn, anchor, reason, attributes }: PlanItem): string {
  const all = [
    ...(newDn === undefined ? [] : [line("dn", dn, newDn, "")]),
    ...attributes.map(({ name, before, after, rule }) =>
      line(
        name,
        before === null ? null : valueText(name, before),
        after === null ? null : valueText(name, after),
        rule,
      ),
    ),
  ];
  const object = `<bdi>${escaped(dn)}</bdi>${anchor === null ? "" : `<div class="anchor">${escaped(anchor)}</div>`}`;
  return `<tr class="${escaped(change)}"><td class="change">${escaped(change)}</td><td>${object}</td><td class="values"><ul>${all.join("")}</ul></td><td class="reason">${escaped(reason)}</td></tr>`;
}

function line(name: string, before: string | null, after: string | null, rule: string): string {
  const values = [
    before === null ? "" : `<del>${lines(before)}</del>`,
    after === null ? "" : `<ins>${lines(after)}</ins>`,
  ].filter((value) => value !== "");
  const by = rule === "" ? "" : ` <span class="rule">${escaped(rule)}</span>`;
  return `<li>${escaped(name)}: ${values.join(" → ") || "(none)"}${by}</li>`;
}

/** Of several values each on a line of its own. */
function lines(values: string): string {
  return values
    .split("\n")
    .map((value) => `<bdi>${escaped(value)}</bdi>`)
    .join("<br>");
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** As text in HTML; what would be invisible, or turn the text around, is named. */
function escaped(text: string): string {
  return text
    .replaceAll(/[&<>"']/g, (character) => entities[character]!)
    .replaceAll(/[\p{Cc}\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/gu, (character) => {
      const code = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0");
      return `<span class="odd">U+${code}</span>`;
    });
}
