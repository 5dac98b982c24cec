/** Bicep files as trees: what can be asked of them without a compiler. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Language, type Node, Parser } from "web-tree-sitter";

const require = createRequire(import.meta.url);
await Parser.init();
const bicep = await Language.load(require.resolve("tree-sitter-bicep/tree-sitter-bicep.wasm"));

export interface ModuleCall {
  readonly symbol: string;
  readonly path: string;
  readonly params: readonly string[];
}

export interface BicepFile {
  /** `line:column text` of each place that is no Bicep */
  readonly syntaxErrors: readonly string[];
  /** name → whether it must be given */
  readonly parameters: ReadonlyMap<string, { readonly required: boolean; readonly described: boolean }>;
  readonly outputs: readonly string[];
  readonly modules: readonly ModuleCall[];
  /** symbol → `Type/sub@version` */
  readonly resources: ReadonlyMap<string, string>;
  /** Everything declared by name, and each name that an expression uses, functions apart. */
  readonly declared: ReadonlySet<string>;
  readonly used: ReadonlySet<string>;
  readonly functions: ReadonlySet<string>;
  /** `symbol.outputs.name` that expressions read */
  readonly outputsRead: readonly (readonly [symbol: string, output: string])[];
  /** members of a variable: `names.queues` → queues */
  readonly membersRead: (symbol: string) => readonly string[];
  /** Keys of the objects that are values of a property of this name, and the text of each value. */
  readonly objectsAt: (property: string) => readonly ReadonlyMap<string, string>[];
  readonly text: string;
}

const declarations = new Set([
  "parameter_declaration",
  "variable_declaration",
  "resource_declaration",
  "module_declaration",
  "output_declaration",
]);

/** @param path of a .bicep file */
export function readBicep(path: string): BicepFile {
  const text = readFileSync(path, "utf8");
  const parser = new Parser();
  parser.setLanguage(bicep);
  const root = parser.parse(text)!.rootNode;
  const all = [...walk(root)];
  const of = (...types: string[]) => all.filter((node) => types.includes(node.type));
  const nameOf = (node: Node) => node.namedChildren.find((child) => child?.type === "identifier")!.text;
  const declaredNodes = of(...declarations);
  const symbols = of("member_expression").map((node) => node.text.replaceAll("!", "").split("."));

  return {
    text,
    syntaxErrors: all
      .filter((node) => node.type === "ERROR" || node.isMissing)
      .map(
        (node) => `${node.startPosition.row + 1}:${node.startPosition.column + 1} ${node.text.slice(0, 60)}`,
      ),
    parameters: new Map(
      of("parameter_declaration").map((node) => [
        nameOf(node),
        {
          required: !/^param\s+\S+\s+[^=]*=/.test(node.text),
          described: decoratorsOf(node).includes("@description("),
        },
      ]),
    ),
    outputs: of("output_declaration").map(nameOf),
    modules: of("module_declaration").map((node) => ({
      symbol: nameOf(node),
      path: stringsOf(node)[0]!,
      params: propertiesOf(node)
        .filter(([key]) => key === "params")
        .flatMap(([, value]) => [...entriesOf(value).keys()]),
    })),
    resources: new Map(of("resource_declaration").map((node) => [nameOf(node), stringsOf(node)[0]!])),
    declared: new Set([
      ...declaredNodes.map(nameOf),
      ...of("loop_variable", "loop_enumerator").map((node) => node.text),
      ...of("for_statement").flatMap((node) => node.childForFieldName("initializer")?.text ?? []),
      ...of("lambda_expression").map((node) => node.namedChildren[0]!.text),
    ]),
    used: new Set(
      of("identifier")
        .filter(isUse)
        .map((node) => node.text),
    ),
    functions: new Set(of("call_expression").map((node) => node.childForFieldName("function")!.text)),
    outputsRead: symbols.flatMap(([symbol, member, output]) =>
      member === "outputs" && output !== undefined ? [[symbol!, output] as const] : [],
    ),
    membersRead: (symbol) => symbols.flatMap(([first, member]) => (first === symbol ? [member!] : [])),
    objectsAt: (property) =>
      of("object_property")
        .filter((node) => keyOf(node) === property)
        .map((node) => entriesOf(node.namedChildren.at(-1)!))
        .filter((entries) => entries.size > 0),
  };
}

function* walk(node: Node): Generator<Node> {
  yield node;
  for (const child of node.children) if (child !== null) yield* walk(child);
}

/** Not the name of a declaration, a loop or a lambda, not a key, not a function. */
function isUse(node: Node): boolean {
  const parent = node.parent!;
  const isFirst = parent.namedChildren[0]?.id === node.id;
  switch (parent.type) {
    case "object_property":
    case "lambda_expression":
      return !isFirst;
    case "for_statement":
      return parent.childForFieldName("initializer")?.id !== node.id;
    case "call_expression":
      return parent.childForFieldName("function")?.id !== node.id;
    case "compatible_identifier":
      return false;
    default:
      return !(isFirst && (declarations.has(parent.type) || parent.type.startsWith("metadata")));
  }
}

function decoratorsOf(node: Node): string {
  const before = node.previousNamedSibling;
  return before?.type === "decorators" ? before.text : "";
}

function keyOf(node: Node): string {
  return node.namedChildren[0]!.text.replace(/^'|'$/g, "");
}

function entriesOf(node: Node): ReadonlyMap<string, string> {
  if (node.type !== "object") return new Map();
  return new Map(
    node.namedChildren
      .filter((child) => child?.type === "object_property")
      .map((child) => [keyOf(child!), child!.namedChildren.at(-1)!.text]),
  );
}

/** The properties of a declaration's object, under its condition or loop if it has one. */
function propertiesOf(node: Node): readonly (readonly [string, Node])[] {
  let body: Node | undefined = node.namedChildren.at(-1)!;
  while (body !== undefined && body.type !== "object") body = body.namedChildren.at(-1) ?? undefined;
  return (body?.namedChildren ?? [])
    .filter((child) => child?.type === "object_property")
    .map((child) => [keyOf(child!), child!.namedChildren.at(-1)!]);
}

function stringsOf(node: Node): readonly string[] {
  return node.namedChildren.flatMap((child) =>
    child?.type === "string" ? [child.text.replace(/^'|'$/g, "")] : [],
  );
}
