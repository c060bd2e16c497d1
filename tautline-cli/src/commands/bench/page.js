// When the pointer is near a point of a chart, this shows a line, a dot on each curve, and the texts of the points.
document.querySelectorAll('figure').forEach((figure) => {
  const svg = figure.querySelector('svg');
  const curves = JSON.parse(figure.querySelector('script').textContent);
  const make = (name, attributes) => {
    const element = document.createElementNS(svg.namespaceURI, name);
    Object.entries(attributes).forEach(([key, value]) => element.setAttribute(key, value));
    return svg.appendChild(element);
  };
  const tip = document.createElement('div');
  tip.className = 'tip';
  let marks = [];
  const clear = () => { marks.forEach((mark) => mark.remove()); marks = []; tip.remove(); };
  svg.addEventListener('pointerleave', clear);
  svg.addEventListener('pointermove', (event) => {
    clear();
    const box = svg.getBoundingClientRect();
    const view = svg.viewBox.baseVal;
    const x = (event.clientX - box.left) * view.width / box.width;
    const near = curves.filter((curve) => curve.points.length).map((curve) => ({
      curve, point: curve.points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)),
    }));
    if (!near.length) return;
    const at = near[0].point[0];
    const plot = svg.querySelector('.plot').getBBox();
    marks.push(make('line', { class: 'cursor', x1: at, x2: at, y1: plot.y, y2: plot.y + plot.height }));
    near.forEach(({ curve, point }) => marks.push(make('circle', { class: curve.class, cx: point[0], cy: point[1], r: 4 })));
    tip.replaceChildren(...near.map(({ curve, point }) => {
      const line = document.createElement('div');
      line.textContent = `${curve.name}: ${point[2]}`;
      return line;
    }));
    figure.appendChild(tip);
    const frame = figure.getBoundingClientRect();
    const left = box.left - frame.left + at * box.width / view.width;
    tip.style.left = `${Math.max(8, left > box.width / 2 ? left - tip.offsetWidth - 12 : left + 12)}px`;
    tip.style.top = `${box.top - frame.top + 30}px`;
  });
});
