interface Operation {
  readonly summary: string;
  readonly security: readonly { readonly capability: readonly string[] }[];
  readonly parameters: readonly {
    readonly name: string;
    readonly in: string;
    readonly description?: string;
  }[];
  readonly requestBody?: {
    readonly content: { readonly 'application/json': { readonly example: unknown } };
  };
}

interface Surface {
  readonly info: { readonly description: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
}

/** The description as a page that needs nothing from another host, nor a browser. */
export function apiPage({ info, paths }: Surface): string {
  const rows = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => row(method, path, operation)),
  );
  return `# API

<!-- Written from the schemas of the service: INTAGLIO_OPENAPI=write npm exec -- node --test test/http/dialects/openapi.test.ts -->

${info.description}

The whole description with all schemas is [openapi.json](openapi.json) (OpenAPI 3.1), which a running service serves at
\`/openapi.json\`. Beside it there are \`/healthz\`, \`/readyz\`, \`/version\` and \`/metrics\`, see [operations.md](operations.md).

| route | scope | what it does | query, and an example of a body |
|---|---|---|---|
${rows.join('\n')}
`;
}

function row(
  method: string,
  path: string,
  { summary, security, parameters, requestBody }: Operation,
): string {
  const scope = security[0]?.capability[0];
  const query = parameters
    .filter((parameter) => parameter.in === 'query')
    .map(({ name, description }) => `\`${name}\`: ${description}`);
  const body = requestBody && [`\`${JSON.stringify(requestBody.content['application/json'].example)}\``];
  const asked = [...query, ...(body ?? [])].join('; ');
  return `| \`${method.toUpperCase()} ${path}\` | ${scope === undefined ? '' : `\`${scope}\``} | ${summary} | ${asked} |`;
}
