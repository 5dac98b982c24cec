/** What was taken over, as Markdown for the administrator who has to stand for it. */
import type { SyncRule } from "../core/rules.ts";
import { describePlace, type Finding } from "./findings.ts";
import type { Takeover } from "./takeover.ts";

const sections: readonly {
  readonly kind: Finding["kind"];
  readonly title: string;
  readonly intro: string;
}[] = [
  {
    kind: "decision",
    title: "What needs a decision",
    intro: "Rules whose reach or values depend on an answer are written with `enabled: false`.",
  },
  {
    kind: "differs",
    title: "What differs in meaning",
    intro: "Taken over, but Vestibule does something else with it.",
  },
  { kind: "remark", title: "Remarks", intro: "Worth knowing; nothing has to be done." },
];

export function reportOf(takeover: Takeover): string {
  const { rules, findings } = takeover;
  const touched = new Set(findings.filter(({ kind }) => kind !== "remark").map(({ about }) => about));
  const plain = rules.filter(({ name }) => !touched.has(name));
  const lines = [
    "# Taking over rules",
    "",
    `Read: ${takeover.formats.join(", ") || "nothing"}.`,
    "",
    "| | |",
    "|---|---|",
    `| Rules | ${rules.length} |`,
    `| … one to one | ${plain.length} |`,
    `| … disabled until a decision is made | ${rules.filter((rule) => isHeld(rule, findings)).length} |`,
    `| Connectors | ${takeover.connectors.map(({ name }) => name).join(", ") || "none"} |`,
    `| Metaverse types | ${[...(takeover.metaverse?.schema.keys() ?? [])].join(", ") || "none in the export"} |`,
    "",
    "## Rules",
    "",
    "| Rule | Direction | Connector | Types | Link | Precedence | Flows | Taken over |",
    "|---|---|---|---|---|---|---|---|",
    ...rules.map(
      (rule) =>
        `| ${cell(rule.name)} | ${rule.direction} | ${rule.connector} | ${cell(rule.connectorObjectType)}, ${cell(rule.metaverseObjectType)} | ${rule.linkType} | ${rule.precedence} | ${rule.flows.length} | ${verdict(rule, findings)} |`,
    ),
    "",
  ];
  for (const { kind, title, intro } of sections) {
    const own = findings.filter((finding) => finding.kind === kind);
    lines.push(`## ${title}`, "");
    if (own.length === 0) lines.push("Nothing.", "");
    else lines.push(intro, "", ...grouped(own), "");
  }
  return `${lines.join("\n").trimEnd()}\n`;
}

/** What is said of several things alike is said once. */
function grouped(findings: readonly Finding[]): readonly string[] {
  return [...Map.groupBy(findings, ({ message }) => message)].map(([message, same]) => {
    const about = [...new Set(same.map((finding) => finding.about))]
      .map((name) => `**${inline(name)}**`)
      .join(", ");
    const places =
      same.length === 1 && same[0]!.place !== undefined ? ` (${inline(describePlace(same[0]!.place))})` : "";
    return `- ${about}${places}: ${inline(message)}`;
  });
}

function isHeld(rule: SyncRule, findings: readonly Finding[]): boolean {
  return !rule.enabled && findings.some(({ kind, about }) => kind === "decision" && about === rule.name);
}

function verdict(rule: SyncRule, findings: readonly Finding[]): string {
  const own = findings.filter(({ about }) => about === rule.name);
  const state = rule.enabled ? "" : ", disabled";
  if (own.some(({ kind }) => kind === "decision")) return `decision needed${state}`;
  return own.some(({ kind }) => kind === "differs") ? `differs${state}` : `one to one${state}`;
}

/** Names come from the export: they stay text, whatever they hold. */
function inline(text: string): string {
  return text.replace(/\s+/g, " ").replace(/[\\`*_<>[\]]/g, (mark) => `\\${mark}`);
}

function cell(text: string): string {
  return inline(text).replaceAll("|", "\\|");
}
