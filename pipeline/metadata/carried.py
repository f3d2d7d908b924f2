"""Which of its master's metadata a result takes over.

The lists name what is carried: whatever describes the photograph, its making and its rights.
Everything else stays behind, because what describes the master's pixels (layout, color, gain) is
untrue of the result, and nobody could list all of that.
"""

# Tags of a TIFF's first directory: texts, camera, dates, people, rights, ratings, and Windows'.
FIELDS = frozenset(
    {
        *range(269, 273), 285, 305, 306, 315, 316, 18246, 18249, 33432, 36867, 36868, 37394,
        *range(40091, 40096),
    }
)  # fmt: skip
# Of EXIF's directory: how the photograph was taken, when, with what and by whom.
EXIF_FIELDS = frozenset(
    {
        33434, 33437, 34850, 34852, 34855, 34857, *range(34864, 34870), 36864, 36867, 36868,
        *range(36880, 36883), *range(37377, 37387), 37500, 37510, *range(37520, 37523),
        *range(37888, 37894), 40964, 41483, 41493, 41495, 41728, 41729,
        *range(41985, 41997), 42016, *range(42032, 42038),
    }
)  # fmt: skip
GPS_FIELDS = frozenset(range(32))
# By namespace of XMP; None: all of its properties except those in LEFT_BEHIND.
_EXIF = (
    "ExifVersion UserComment DateTimeOriginal DateTimeDigitized ExposureTime FNumber Flash"
    " ExposureProgram SpectralSensitivity ISOSpeedRatings ShutterSpeedValue ApertureValue"
    " BrightnessValue ExposureBiasValue MaxApertureValue SubjectDistance MeteringMode LightSource"
    " FocalLength FlashEnergy ExposureIndex SensingMethod FileSource SceneType CustomRendered"
    " ExposureMode WhiteBalance DigitalZoomRatio FocalLengthIn35mmFilm SceneCaptureType"
    " GainControl Contrast Saturation Sharpness SubjectDistanceRange ImageUniqueID RelatedSoundFile"
    " SubSecTime SubSecTimeOriginal SubSecTimeDigitized"
).split()
_GPS = (
    "VersionID Latitude Longitude AltitudeRef Altitude TimeStamp Satellites Status MeasureMode DOP"
    " SpeedRef Speed TrackRef Track ImgDirectionRef ImgDirection MapDatum DestLatitude"
    " DestLongitude DestBearingRef DestBearing DestDistanceRef DestDistance ProcessingMethod"
    " AreaInformation Differential HPositioningError"
).split()
_EXIF_EX = (
    "PhotographicSensitivity SensitivityType StandardOutputSensitivity RecommendedExposureIndex"
    " ISOSpeed ISOSpeedLatitudeyyy ISOSpeedLatitudezzz CameraOwnerName BodySerialNumber"
    " LensSpecification LensMake LensModel LensSerialNumber OffsetTime OffsetTimeOriginal"
    " OffsetTimeDigitized AmbientTemperature Humidity Pressure WaterDepth Acceleration"
    " CameraElevationAngle ImageTitle Photographer ImageEditor CameraFirmware"
    " RAWDevelopingSoftware ImageEditingSoftware MetadataEditingSoftware"
).split()
PROPERTIES: dict[str, frozenset[str] | None] = {
    "http://purl.org/dc/elements/1.1/": None,
    "http://purl.org/dc/terms/": None,
    "http://ns.adobe.com/xap/1.0/": frozenset(
        "BaseURL CreateDate CreatorTool Identifier Label MetadataDate ModifyDate Nickname Rating"
        " Advisory".split()
    ),
    "http://ns.adobe.com/xap/1.0/rights/": None,
    "http://ns.adobe.com/xap/1.0/mm/": None,
    "http://ns.adobe.com/xap/1.0/bj/": None,
    "http://ns.adobe.com/photoshop/1.0/": frozenset(
        "AuthorsPosition CaptionWriter Category City Country Credit DateCreated Headline"
        " Instructions Source State SupplementalCategories TransmissionReference Urgency".split()
    ),
    "http://ns.adobe.com/tiff/1.0/": frozenset(
        "Orientation Make Model Artist Copyright DateTime ImageDescription Software".split()
    ),
    "http://ns.adobe.com/exif/1.0/": frozenset([*_EXIF, *(f"GPS{name}" for name in _GPS)]),
    "http://cipa.jp/exif/1.0/": frozenset(_EXIF_EX),
    "http://ns.adobe.com/exif/1.0/aux/": None,
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": None,
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": None,
    "http://ns.useplus.org/ldf/xmp/1.0/": None,
    "http://creativecommons.org/ns#": None,
    "http://ns.adobe.com/lightroom/1.0/": None,
    "http://www.digikam.org/ns/1.0/": None,
    "http://ns.microsoft.com/photo/1.0/": None,
    "http://ns.microsoft.com/photo/1.0": None,
    "http://www.metadataworkinggroup.com/schemas/keywords/": None,
    "http://ns.acdsee.com/iptc/1.0/": None,
    "http://ns.iview-multimedia.com/mediapro/1.0/": None,
    "http://rs.tdwg.org/dwc/terms/": None,
}
LEFT_BEHIND = frozenset(  # of namespaces that are carried whole, or written anew for the result
    {
        ("http://purl.org/dc/elements/1.1/", "format"),
        ("http://purl.org/dc/terms/", "provenance"),  # where the master's content credentials are
        ("http://purl.org/dc/terms/", "format"),
        ("http://purl.org/dc/terms/", "extent"),
        ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "DigitalSourceType"),
        ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "AISystemUsed"),
        ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "AISystemVersionUsed"),
        ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "ImageRegion"),
        ("http://ns.adobe.com/xap/1.0/mm/", "InstanceID"),  # names the very file
        ("http://ns.useplus.org/ldf/xmp/1.0/", "FileNameAsDelivered"),
        ("http://ns.useplus.org/ldf/xmp/1.0/", "ImageFileFormatAsDelivered"),
        ("http://ns.useplus.org/ldf/xmp/1.0/", "ImageFileSizeAsDelivered"),
        ("http://ns.adobe.com/xap/1.0/mm/", "Pantry"),
        ("http://ns.adobe.com/xap/1.0/mm/", "Ingredients"),
        ("http://ns.microsoft.com/photo/1.0/", "RegionInfo"),
    }
)
# Data sets of IPTC's older form by record: of its sender (1) and of the photograph (2), but not the
# file's format, previews, a caption as a bitmap, type and orientation; no record of pixels.
DATA_SETS = {
    1: frozenset({0, 5, 30, 40, 50, 60, 70, 80, 90, 100, 120, 122}),
    2: frozenset({*range(123), 135, *range(150, 155), 184, *range(186, 189), 221, 225, 230, 231}),
}
# Texts of PNG by their keyword, and the property of XMP that says the same.
TEXTS = {
    "Title": "dc:title",
    "Author": "dc:creator",
    "Description": "dc:description",
    "Copyright": "dc:rights",
    "Source": "dc:source",
    "Creation Time": "xmp:CreateDate",
    "Software": "xmp:CreatorTool",
    "Comment": "exif:UserComment",
    "Disclaimer": "xmpRights:UsageTerms",
    "Warning": None,
}


def is_carried(space: str, name: str) -> bool:
    """Whether a result takes over a property of XMP."""
    if space not in PROPERTIES or (space, name) in LEFT_BEHIND:
        return False
    names = PROPERTIES[space]
    return names is None or name in names


def describes_pixels(text: bytes) -> bool:
    """Whether an image description is a program's note on arrays in the file, not written by
    people."""
    start = text.lstrip()[:400]
    return (
        start.startswith((b'{"shape"', b"{'shape'", b"shape=(", b"ImageJ=", b"SCANIMAGE"))
        or b"<OME " in start
        or b"www.openmicroscopy.org" in start
    )
