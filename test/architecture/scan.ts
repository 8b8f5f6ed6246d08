/** Finds what a TypeScript file imports, without a parser: enough of the grammar to skip comments and read strings. */

/** One import of a file: `import … from`, `export … from`, `import('…')`, `import x = require('…')` or `require('…')`. */
export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** `import type` and `export type`: gone when the program runs. */
  readonly typeOnly: boolean;
}

export interface Scan {
  readonly imports: readonly Import[];
  /** Every string and the fixed parts of every template, for paths that are not imported but loaded. */
  readonly strings: readonly { readonly text: string; readonly line: number }[];
}

interface Token {
  readonly kind: 'word' | 'string' | 'sign';
  readonly text: string;
  readonly line: number;
}

/** After these words a slash begins a regular expression; after any other word or a closing bracket it divides. */
const wordsBeforeExpression = new Set(
  'return typeof instanceof in of new delete void throw case do else yield await'.split(' '),
);

function slashBeginsExpression(before: Token | undefined): boolean {
  if (before === undefined) return true;
  if (before.kind === 'string') return false;
  if (before.kind === 'word') return wordsBeforeExpression.has(before.text);
  return before.text !== ')' && before.text !== ']' && before.text !== '}';
}

const sticky = {
  skip: /(?:\s+|\/\/[^\n]*|\/\*[\s\S]*?\*\/|^#![^\n]*)+/y,
  word: /[\p{ID_Start}$_#][\p{ID_Continue}$]*|\d[\w.]*/uy,
  string: /'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y,
  expression: /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y,
  /** The fixed part of a template, up to its end or to the next `${`. */
  template: /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{)/y,
};

function tokens(source: string): Token[] {
  const found: Token[] = [];
  /** For each open template the depth of braces within its `${ … }`. */
  const templates: number[] = [];
  let line = 1;
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const text = pattern.exec(source)?.[0];
    if (text === undefined) return undefined;
    at += text.length;
    return text;
  };
  const push = (kind: Token['kind'], text: string, raw: string): void => {
    found.push({ kind, text, line });
    line += raw.split('\n').length - 1;
  };
  const takeTemplatePart = (): void => {
    const raw = take(sticky.template) ?? source.slice(at);
    if (raw.endsWith('${')) templates.push(0);
    push('string', raw.replace(/(?:`|\$\{)$/, ''), raw);
  };

  while (at < source.length) {
    const skipped = take(sticky.skip);
    if (skipped !== undefined) {
      line += skipped.split('\n').length - 1;
      continue;
    }
    const char = source[at]!;
    const text = take(sticky.word);
    if (text !== undefined) {
      push('word', text, text);
    } else if (char === "'" || char === '"') {
      const raw = take(sticky.string) ?? source.slice(at++, at);
      push('string', raw.slice(1, -1), raw);
    } else if (char === '`') {
      at++;
      takeTemplatePart();
    } else if (char === '/' && slashBeginsExpression(found.at(-1)) && take(sticky.expression) !== undefined) {
      push('sign', ')', '');
    } else {
      at++;
      const depth = templates.at(-1);
      if (char === '}' && depth === 0) {
        templates.pop();
        takeTemplatePart();
        continue;
      }
      if (depth !== undefined && char === '{') templates[templates.length - 1] = depth + 1;
      if (depth !== undefined && char === '}') templates[templates.length - 1] = depth - 1;
      push('sign', char, char);
    }
  }
  return found;
}

/** The specifier of the `import` or `export` statement that begins at `start`, if it names a module. */
function statementSpecifier(list: readonly Token[], start: number): Token | undefined {
  for (let index = start; index < list.length; index++) {
    const token = list[index]!;
    if (token.kind === 'string') {
      const before = list[index - 1];
      // `import './x.ts'`, or the string after `from`; any other string belongs to other code.
      return index === start || before?.text === 'from' ? token : undefined;
    }
    if (token.kind === 'sign' && !['{', '}', ',', '*'].includes(token.text)) return undefined;
  }
  return undefined;
}

export function scan(source: string): Scan {
  const list = tokens(source);
  const imports: Import[] = [];
  for (const [index, token] of list.entries()) {
    if (token.kind !== 'word' || list[index - 1]?.text === '.') continue;
    const next = list[index + 1];
    if (token.text === 'require' || (token.text === 'import' && next?.text === '(')) {
      const argument = list[index + 2];
      if (next?.text !== '(' || argument?.kind !== 'string') continue;
      imports.push({ specifier: argument.text, line: argument.line, typeOnly: false });
    } else if (token.text === 'import' || token.text === 'export') {
      const specifier = statementSpecifier(list, index + 1);
      if (specifier === undefined || (token.text === 'export' && next?.kind === 'string')) continue;
      const typeOnly = next?.text === 'type' && list[index + 2]?.text !== 'from';
      imports.push({ specifier: specifier.text, line: specifier.line, typeOnly });
    }
  }
  const strings = list.filter((token) => token.kind === 'string').map(({ text, line }) => ({ text, line }));
  return { imports, strings };
}
