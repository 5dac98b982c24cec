/** Rules that were taken over, checked as the configuration will check them, with the types that the export tells. */
import { compileRules } from "../core/ruleCompiler.ts";
import type { AttributeInfo, RuleContext, SyncRule } from "../core/rules.ts";
import type { NamedConnector } from "./configurationOf.ts";
import { selectedAttributes } from "./connector.ts";
import type { Finding } from "./findings.ts";
import type { ExportedMetaverse } from "./metaverse.ts";

/** @param hasMetaverse whether the export had the metaverse's schema */
export function checkTakenOver(
  rules: readonly SyncRule[],
  context: RuleContext,
  hasMetaverse: boolean,
): readonly Finding[] {
  const compiled = compileRules(rules, context);
  return (compiled.ok ? compiled.warnings : compiled.problems)
    .filter(({ code }) => isKnowable(code, hasMetaverse))
    .map(({ rule, path, message, remedy, position, severity }) => ({
      kind: severity === "error" ? "decision" : "remark",
      about: rule,
      message: `${severity === "error" ? "The configuration does not load before this is mended: " : ""}${pathText(path)}${position === undefined ? "" : ` (line ${position.line}, column ${position.column})`}: ${message}${remedy === "" ? "" : ` ${remedy}`}`,
    }));
}

/** What an export tells of the schemas; a connector that is not in it is not judged. */
export function takenOverContext(
  rules: readonly SyncRule[],
  connectors: readonly NamedConnector[],
  metaverse: ExportedMetaverse | undefined,
): RuleContext {
  const joined = new Set(
    rules.flatMap(({ join }) => join.flat().map(({ metaverseAttribute }) => metaverseAttribute)),
  );
  const connectorAttributes = new Map(
    connectors.map(({ name, exported }) => {
      const types = new Set([
        ...exported.schema.keys(),
        ...rules
          .filter(({ connector }) => connector === name)
          .map(({ connectorObjectType }) => connectorObjectType),
      ]);
      return [
        name,
        new Map(
          [...types].map((type): [string, ReadonlyMap<string, AttributeInfo | null>] => [
            type,
            new Map(
              selectedAttributes(exported, type).map((attribute) => [
                attribute,
                exported.schema.get(type)?.get(attribute) ?? null,
              ]),
            ),
          ]),
        ),
      ] as const;
    }),
  );
  const metaverseAttributes = new Map(
    [...(metaverse?.schema ?? [])].map(
      ([type, attributes]) =>
        [
          type,
          new Map(
            [...attributes].map(([name, { indexed, ...info }]) => [
              name,
              { ...info, indexed: indexed || joined.has(name) },
            ]),
          ),
        ] as const,
    ),
  );
  return { connectorAttributes, metaverseAttributes, parameters: new Set() };
}

/** What is said of connectors and extensions is said where they are taken over. */
function isKnowable(code: string, hasMetaverse: boolean): boolean {
  if (code === "unknown-metaverse-object-type") return hasMetaverse;
  return code !== "unknown-connector" && code !== "no-extension";
}

function pathText(path: readonly (string | number)[]): string {
  return path
    .map((key, index) => (typeof key === "number" ? `[${key}]` : index === 0 ? key : `.${key}`))
    .join("");
}
