// Draws the figures when they come into sight, and the table of runs; sorts, filters and turns its pages.
'use strict';

const byId = id => document.getElementById(id);
const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

// Figures.

const FONT = {family: 'system-ui, sans-serif', size: 12, color: '#1b1f24'};
const AXIS = {gridcolor: '#e8eaee', zeroline: false, linecolor: '#4b5563', ticks: 'outside', ticklen: 4,
  tickcolor: '#9ca3af', automargin: true, exponentformat: 'none', separatethousands: true, tickangle: 0, showline: true};
const isTouch = window.matchMedia('(pointer: coarse)').matches;

const layoutOf = given => ({
  ...given, font: FONT, showlegend: false, hovermode: 'closest', dragmode: isTouch ? false : 'zoom',
  margin: {l: 44, r: 22, t: 8, b: 40}, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
  hoverlabel: {align: 'left', bgcolor: '#ffffff', bordercolor: '#9ca3af', font: {...FONT, size: 12}},
  xaxis: {...AXIS, ...given.xaxis, title: {standoff: 6, ...given.xaxis.title}},
  yaxis: {...AXIS, ...given.yaxis, title: {standoff: 6, ...given.yaxis.title}},
});

const hidden = figure => new Set(
  [...figure.querySelectorAll('.legend [aria-pressed=false]')].map(button => button.dataset.key));

const drawPanel = (figure, plot, {data, layout}) => {
  const off = hidden(figure);
  const traces = data.map(trace => ({...trace, visible: !off.has(trace.meta)}));
  Plotly.newPlot(plot, traces, layoutOf(layout), {
    responsive: true, displayModeBar: false,
  });
  plot.dataset.drawn = 'yes';
};

const figures = [...document.querySelectorAll('figure.chart')];
const charts = JSON.parse(byId('charts').textContent);
const panels = new Map();
figures.forEach((figure, number) => {
  figure.querySelectorAll('.plot').forEach((plot, place) => panels.set(plot, [figure, charts[number][place]]));
  figure.addEventListener('click', event => {
    const button = event.target.closest('.legend button');
    if (!button) return;
    button.setAttribute('aria-pressed', button.getAttribute('aria-pressed') === 'true' ? 'false' : 'true');
    const off = hidden(figure);
    for (const plot of figure.querySelectorAll('.plot[data-drawn]')) {
      Plotly.restyle(plot, {visible: plot.data.map(trace => !off.has(trace.meta))});
    }
  });
});

const draw = plot => {
  if (plot.dataset.drawn) return;
  drawPanel(panels.get(plot)[0], plot, panels.get(plot)[1]);
};
const observer = new IntersectionObserver(entries => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    observer.unobserve(entry.target);
    draw(entry.target);
  }
}, {rootMargin: '800px'});
for (const plot of panels.keys()) observer.observe(plot);
window.addEventListener('beforeprint', () => {
  for (const plot of panels.keys()) if (plot.offsetParent) draw(plot);
});

// Tables: a click on a heading sorts; cells without a value come last, either way.

const compare = (x, y, sign) => {
  const [noX, noY] = [x === '', y === ''];
  if (noX || noY) return noX - noY;
  if (typeof x === 'number' && typeof y === 'number') return sign * (x - y);
  return sign * String(x).localeCompare(String(y), undefined, {numeric: true});
};

const turn = heading => {
  const order = heading.getAttribute('aria-sort') === 'ascending' ? 'descending' : 'ascending';
  for (const other of heading.parentElement.cells) other.removeAttribute('aria-sort');
  heading.setAttribute('aria-sort', order);
  return order === 'ascending' ? 1 : -1;
};

document.querySelectorAll('table.sortable th').forEach(heading => heading.addEventListener('click', () => {
  const sign = turn(heading), body = heading.closest('table').tBodies[0];
  const key = row => {
    const cell = row.cells[heading.cellIndex];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  body.append(...[...body.rows].sort((a, b) => compare(key(a), key(b), sign)));
}));

// The table of runs.

const PAGE = 50;
const table = JSON.parse(byId('table').textContent);
const opened = new Set();
let rows = table.rows, first = 0;

const count = number => number.toLocaleString('en');
const textOf = cell => typeof cell === 'string' ? cell : Array.isArray(cell) ? cell[0] : cell.text;
const keyOf = cell => Array.isArray(cell) ? cell[1] : textOf(cell);

const cellOf = cell => {
  const made = make('td');
  if (Array.isArray(cell)) made.dataset.value = cell[1];
  // A long name may go on in the next line after an underscore, a plus or a hyphen.
  const parts = textOf(cell).split(/(?<=[_+-])/).flatMap((part, i) => i ? [make('wbr'), part] : [part]);
  made.append(...(cell instanceof Object && 'link' in cell ? [make('a', {href: cell.link}, ...parts)] : parts));
  return made;
};

const tint = states => states.includes('failed') ? 'failed' : states.includes('done') ? '' : 'faint';

const rowOf = row => {
  const made = make('tr', {className: tint(row.values.state)}, ...row.cells.map(cellOf));
  if (row.seeds.length > 1) {
    const button = make('button', {className: 'open', type: 'button'}, opened.has(row) ? '▾' : '▸');
    button.setAttribute('aria-expanded', opened.has(row));
    button.setAttribute('aria-label', 'seeds');
    button.addEventListener('click', () => {
      opened.has(row) ? opened.delete(row) : opened.add(row);
      show();
    });
    made.cells[table.columns.indexOf('seed')].prepend(button);
  }
  return made;
};

const state = table.columns.indexOf('state');
const seedOf = cells => make('tr', {className: `seed ${tint([textOf(cells[state])])}`}, ...cells.map(cellOf));

const show = () => {
  first = Math.max(0, Math.min(first, PAGE * Math.floor((rows.length - 1) / PAGE)));
  const shown = rows.slice(first, first + PAGE);
  byId('runs').tBodies[0].replaceChildren(
    ...shown.flatMap(row => [rowOf(row), ...(opened.has(row) ? row.seeds.map(seedOf) : [])]));
  const seeds = rows.reduce((sum, row) => sum + row.seeds.length, 0);
  byId('shown').textContent =
    `${count(rows.length)} of ${count(table.rows.length)} cells, ${count(seeds)} runs`;
  byId('place').textContent =
    rows.length ? `${count(first + 1)} to ${count(first + shown.length)} of ${count(rows.length)}` : 'none';
  byId('previous').disabled = first === 0;
  byId('next').disabled = first + PAGE >= rows.length;
};

let sorting = null;
const selects = [...document.querySelectorAll('select[data-filter]')];
const choose = () => {
  const words = byId('search').value.toLowerCase();
  const matches = row => selects.every(s => !s.value || row.values[s.dataset.filter].includes(s.value))
    && (!words || [...row.cells, ...row.seeds.flat()].some(cell => textOf(cell).toLowerCase().includes(words)));
  rows = table.rows.filter(matches);
  if (sorting) {
    const {column, sign} = sorting;
    rows.sort((a, b) => compare(keyOf(a.cells[column]), keyOf(b.cells[column]), sign));
  }
  first = 0;
  show();
};

byId('runs').tHead.append(make('tr', {}, ...table.columns.map((title, column) => {
  const heading = make('th', {scope: 'col'}, make('button', {type: 'button'}, title));
  heading.addEventListener('click', () => {
    sorting = {column, sign: turn(heading)};
    choose();
  });
  return heading;
})));
for (const select of selects) select.addEventListener('change', choose);
byId('search').addEventListener('input', choose);
for (const [id, step] of [['previous', -PAGE], ['next', PAGE]]) {
  byId(id).addEventListener('click', () => { first += step; show(); });
}
choose();
