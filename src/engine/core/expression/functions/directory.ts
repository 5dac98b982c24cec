/** Distinguished names. Components keep their escapes: out-of-box rules look for `\0ACNF:` in them. */
import type { Reference } from "../../values.ts";
import { assertLength, fail } from "../evaluate.ts";
import { define, entraReference, type FunctionTable } from "./define.ts";

export const directoryFunctions = {
  DNComponent: define({
    takes: ["dn: ref|str", "index: int"],
    gives: "str",
    does: "The value of the `index`-th component from the left, without its `cn=`, still escaped.",
    source: entraReference("dncomponent"),
    evaluate: (dn, index) => componentAt("DNComponent", components(textOf(dn)), index),
    examples: [
      ['DNComponent(CRef("cn=Joe,dc=contoso,dc=com"), 1)', "Joe"],
      ['DNComponent("CN=Joe\\, Ann,DC=com", 1)', "Joe\\, Ann"],
      ['DNComponent("cn=Joe,dc=com", 3)', { $error: null }],
      ["DNComponent(NULL, 1)", null],
      [
        "DNComponent([managers], 1)",
        ["a", "b"],
        { attributes: { managers: [{ $ref: "CN=a,DC=x" }, { $ref: "CN=b,DC=x" }] } },
      ],
    ],
  }),
  DNComponentRev: define({
    takes: ["dn: ref|str", "index: int", "skipped?: domainPart"],
    gives: "str",
    does: "The value of the `index`-th component from the right; with DC, the domain's components do not count.",
    source: entraReference("dncomponentrev"),
    evaluate: (dn, index, skipped) => {
      const all = components(textOf(dn)).reverse();
      const counted = skipped === undefined ? all : all.filter((component) => !/^dc=/i.test(component));
      return componentAt("DNComponentRev", counted, index);
    },
    examples: [
      ['DNComponentRev("cn=Joe,ou=Atlanta,ou=GA,ou=US, dc=contoso,dc=com", 3)', "US"],
      ['DNComponentRev("cn=Joe,ou=Atlanta,ou=GA,ou=US, dc=contoso,dc=com", 1, "DC")', "US"],
      ['DNComponentRev("cn=Joe,ou=GA,dc=com", 1, DC)', "GA"],
      ['DNComponentRev("cn=Joe", 2)', { $error: null }],
      ["DNComponentRev(NULL, 1)", null],
      ["DNComponentRev([dns], 1)", ["x", "y"], { attributes: { dns: ["CN=a,DC=x", "CN=b,DC=y"] } }],
    ],
  }),
  EscapeDNComponent: define({
    takes: ["component: str"],
    gives: "str",
    does: "One component, `name=value`, with the value escaped so that it can stand in a DN; text without a name is escaped whole.",
    source: entraReference("escapednccomponent"),
    evaluate: (component) => escapeComponent(component),
    examples: [
      [
        'EscapeDNComponent("cn=" & [displayName]) & ",DC=com"',
        "cn=Doe\\, Jane,DC=com",
        { attributes: { displayName: "Doe, Jane" } },
      ],
      ['EscapeDNComponent("cn=a=b<c>+#;")', "cn=a\\=b\\<c\\>\\+\\#\\;"],
      ['EscapeDNComponent("cn=Joe ")', "cn=Joe\\ "],
      ["EscapeDNComponent(NULL)", null],
      ['EscapeDNComponent("cn=" & [names])', ["cn=a", "cn=b\\,c"], { attributes: { names: ["a", "b,c"] } }],
    ],
  }),
} satisfies FunctionTable;

function textOf(dn: string | Reference): string {
  return typeof dn === "string" ? dn : dn.dn;
}

/** The RDNs as they are written, without the white space around them. */
function components(dn: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let quoted = false;
  for (let at = 0; at <= dn.length; at++) {
    const character = dn[at];
    if (character === "\\") at++;
    else if (character === '"') quoted = !quoted;
    else if (character === undefined || ((character === "," || character === ";") && !quoted)) {
      parts.push(dn.slice(start, at).trim());
      start = at + 1;
    }
  }
  // An escape at the very end has stepped over it.
  if (start < dn.length) parts.push(dn.slice(start).trim());
  return parts.filter((part) => part !== "");
}

function componentAt(name: string, parts: readonly string[], index: number): string {
  const part = index >= 1 ? parts[index - 1] : undefined;
  if (part === undefined) return fail("index-out-of-range", `${name}: the DN has no such component.`);
  return part.slice(part.indexOf("=") + 1).trimStart();
}

const attributeType = /^[A-Za-z][A-Za-z0-9.-]*=/;

export function escapeComponent(component: string): string {
  const name = attributeType.exec(component)?.[0] ?? "";
  const value = component.slice(name.length);
  assertLength(component.length * 2);
  const escaped = value.replace(/[\\,=+<>#;"]/g, (character) => `\\${character}`);
  const leading = escaped.startsWith(" ") ? "\\" : "";
  const text = `${leading}${escaped}`;
  return name + (text.length > 1 && text.endsWith(" ") && value !== " " ? `${text.slice(0, -1)}\\ ` : text);
}
