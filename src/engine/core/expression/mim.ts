/**
 * MIM stores expressions as XML: `<fn id="IIF"><arg><fn id="Eq"><arg>EmployeeType</arg>…`. This reads that form into
 * the common tree; leaves are the dialect's text form, where attributes are bare names.
 *
 * The reader knows elements, attributes, character data and the five predefined entities. It refuses document types,
 * so nothing can be expanded or fetched.
 */
import { canonicalMimCall, parse, parseLimits } from "./parse.ts";
import { ProblemList } from "./problems.ts";
import type { Call, Expression, Span } from "./syntax.ts";

interface XmlElement {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly elements: XmlElement[];
  /** The character data of the element itself. */
  text: string;
  span: Span;
}

/** Stops at the first problem, which says what is wrong with the XML. */
class NotAnExpression extends Error {
  readonly span: Span;

  constructor(message: string, span: Span) {
    super(message);
    this.span = span;
  }
}

/** @returns the tree, or undefined when a problem was reported. */
export function parseMimXml(source: string, problems: ProblemList): Expression | undefined {
  try {
    if (source.length > xmlLengthMax) throw new NotAnExpression("The XML is too long.", { start: 0, end: 1 });
    return expressionOf(readXml(source), problems, 0);
  } catch (error) {
    if (!(error instanceof NotAnExpression)) throw error;
    problems.error("invalid-xml", error.span, error.message);
    return undefined;
  }
}

/** Tags make an expression several times as long as its text form. */
const xmlLengthMax = parseLimits.sourceLengthMax * 8;
/** Each function is two elements deep. */
const xmlDepthMax = parseLimits.depthMax * 2;

function expressionOf(element: XmlElement, problems: ProblemList, depth: number): Expression | undefined {
  const { span } = element;
  if (depth > parseLimits.depthMax) throw new NotAnExpression("The functions are nested too deeply.", span);
  if (element.name === "arg") {
    const [inner, ...others] = element.elements;
    if (inner === undefined) return leafOf(element, problems);
    if (others.length > 0 || element.text.trim() !== "") {
      throw new NotAnExpression("An argument is either one function or text.", span);
    }
    return expressionOf(inner, problems, depth);
  }
  if (element.name !== "fn")
    throw new NotAnExpression(`<${element.name}> is not part of an expression.`, span);
  const name = element.attributes.get("id");
  if (name === undefined) throw new NotAnExpression("A function has no id.", span);
  const args: Expression[] = [];
  for (const argument of element.elements) {
    if (argument.name !== "arg")
      throw new NotAnExpression("A function holds only <arg> elements.", argument.span);
    const expression = expressionOf(argument, problems, depth + 1);
    if (expression === undefined) return undefined;
    args.push(expression);
  }
  const call: Call = {
    kind: "call",
    name,
    nameSpan: { start: span.start, end: span.start + 3 },
    arguments: args,
    span,
  };
  // The concatenation of n arguments is n levels deep.
  if ((name === "+" || name === "Concatenate") && args.length + depth > parseLimits.depthMax) {
    throw new NotAnExpression("The concatenation has too many arguments.", span);
  }
  const node = canonicalMimCall(call);
  if (node === undefined) throw new NotAnExpression(`${name} takes other arguments.`, span);
  return node;
}

/** `EmployeeType`, `"Intern"`, `5`: the text form of a value. */
function leafOf(element: XmlElement, problems: ProblemList): Expression | undefined {
  const inner = new ProblemList(element.text);
  const expression = parse(element.text, "mim", inner);
  if (expression === undefined) {
    throw new NotAnExpression(inner.problems[0]?.message ?? "The argument cannot be read.", element.span);
  }
  for (const problem of inner.problems)
    problems.warning("wrong-case", element.span, problem.message, problem.suggestion);
  return located(expression, element.span);
}

/** The position inside decoded text means nothing in the source; the element's does. */
function located(node: Expression, span: Span): Expression {
  switch (node.kind) {
    case "negation":
      return { ...node, operand: located(node.operand, span), span };
    case "binary":
      return { ...node, left: located(node.left, span), right: located(node.right, span), span };
    case "call":
      return {
        ...node,
        arguments: node.arguments.map((argument) => located(argument, span)),
        nameSpan: span,
        span,
      };
    default:
      return { ...node, span };
  }
}

const namePattern = /[A-Za-z_][A-Za-z0-9_.:-]*/y;
const attributePattern = /\s+([A-Za-z_][A-Za-z0-9_.:-]*)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')/y;
const entities: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function readXml(source: string): XmlElement {
  let at = 0;
  let root: XmlElement | undefined;
  const open: XmlElement[] = [];
  const stop = (message: string): never => {
    throw new NotAnExpression(message, {
      start: Math.min(at, source.length),
      end: Math.min(at + 1, source.length),
    });
  };
  const skip = (end: string): string => {
    const found = source.indexOf(end, at);
    if (found < 0) stop(`${end} is missing.`);
    const skipped = source.slice(at, found);
    at = found + end.length;
    return skipped;
  };
  while (at < source.length) {
    const start = at;
    const current = open.at(-1);
    if (source[at] !== "<") {
      const next = source.indexOf("<", at);
      const text = source.slice(at, next < 0 ? source.length : next);
      if (current === undefined) {
        if (text.trim() !== "") stop("Text stands outside the expression.");
      } else current.text += decode(text, start);
      at += text.length;
    } else if (source.startsWith("<!--", at)) {
      skip("-->");
    } else if (source.startsWith("<![CDATA[", at)) {
      at += "<![CDATA[".length;
      const text = skip("]]>");
      if (current === undefined) stop("Text stands outside the expression.");
      else current.text += text;
    } else if (source.startsWith("<!", at)) {
      stop("Document types are not accepted.");
    } else if (source.startsWith("<?", at)) {
      skip("?>");
    } else if (source.startsWith("</", at)) {
      at += 2;
      const name = skip(">").trim();
      const closed = open.pop();
      if (closed === undefined || closed.name !== name) return stop(`</${name}> closes nothing.`);
      closed.span = { start: closed.span.start, end: at };
    } else {
      at++;
      namePattern.lastIndex = at;
      const name = namePattern.exec(source)?.[0] ?? stop("An element name is expected.");
      at += name.length;
      const attributes = new Map<string, string>();
      for (;;) {
        attributePattern.lastIndex = at;
        const attribute = attributePattern.exec(source);
        if (attribute === null) break;
        attributes.set(attribute[1]!, decode(attribute[2] ?? attribute[3]!, at));
        at += attribute[0].length;
      }
      while (/\s/.test(source[at] ?? "")) at++;
      const empty = source.startsWith("/>", at);
      if (!empty && source[at] !== ">") stop("The element is not closed.");
      at += empty ? 2 : 1;
      const element: XmlElement = { name, attributes, elements: [], text: "", span: { start, end: at } };
      if (current !== undefined) current.elements.push(element);
      else if (root === undefined) root = element;
      else stop("There is more than one expression.");
      if (!empty && open.push(element) > xmlDepthMax) stop("The elements are nested too deeply.");
    }
  }
  if (open.length > 0) return stop(`</${open.at(-1)!.name}> is missing.`);
  return root ?? stop("There is no expression.");
}

function decode(text: string, at: number): string {
  return text.replace(/&([^;&\s]{0,10});?/g, (whole, name: string) => {
    const known = entities[name];
    if (known !== undefined && whole.endsWith(";")) return known;
    const code = /^#(?:x([0-9A-Fa-f]{1,6})|(\d{1,7}))$/.exec(name);
    const point =
      code === null ? Number.NaN : Number.parseInt(code[1] ?? code[2]!, code[1] === undefined ? 10 : 16);
    if (point <= 0x10ffff && whole.endsWith(";")) return String.fromCodePoint(point);
    throw new NotAnExpression("Only the predefined entities are accepted.", { start: at, end: at + 1 });
  });
}
