"""The runners of rows of one core, kept from batch to batch."""

from model.core import ColTranCore
from model.sampling.forecast import RowForecaster, can_forecast
from model.sampling.row import RowRunner


class RowRunners:
    """The runners of one core, made as they are needed and kept: one for each shape of a row.

    Only one batch size is kept, with as many temperatures as come: who asks for another one ran
    out of memory with the last, which its recordings would go on holding. ways_agree: whether
    forecasts draw what lanes do here; None as long as nobody tried.
    """

    def __init__(self, core: ColTranCore) -> None:
        self.core = core
        self.ways_agree: bool | None = None
        self._batch = 0
        self._by_temperature: dict[float, RowRunner] = {}
        self._forecasters: dict[float, RowForecaster] = {}

    def of(self, batch: int, temperature: float) -> RowRunner:
        if batch != self._batch:
            self._by_temperature.clear()
            self._batch = batch
        if temperature not in self._by_temperature:
            self._by_temperature[temperature] = RowRunner(self.core, batch, temperature)
        return self._by_temperature[temperature]

    def forecaster(self, temperature: float) -> RowForecaster:
        """Raises ValueError where there are no forecasts."""
        if not can_forecast(self.core):
            raise ValueError("forecasts need a CPU with oneDNN, float32, and rows of whole blocks")
        if temperature not in self._forecasters:
            self._forecasters[temperature] = RowForecaster(self.core, temperature)
        return self._forecasters[temperature]
